//! No secret gets into a table of HTTP/2's, to be guessed at there by whoever else sends over the same
//! connection.
//!
//! RFC 7541 §7.1.3: "An intermediary MUST NOT re-encode a value that uses the never-indexed literal
//! representation with another representation that would index it."

use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::frames::{
    END_HEADERS, END_STREAM, HEADERS, Received, SETTINGS, STATUS_200, field, frame,
};
use crate::support::{AuthorizationServer, Gatepass, Upstream, get, simple_config};

/// RFC 7541 §6.2.3: 0001, then the name's index in a prefix of four bits, which is 15 and what is left
/// in another byte (§5.1). Appendix A: `authorization` is entry 23, `from` is entry 37.
const AUTHORIZATION_NEVER_INDEXED: [u8; 2] = [0x1f, 23 - 15];
const FROM_NEVER_INDEXED: [u8; 2] = [0x1f, 37 - 15];

/// Refuses the first request's token, and hands over the fields of all.
async fn refuse_once(listener: TcpListener, heads: tokio::sync::mpsc::UnboundedSender<Vec<u8>>) {
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.read_exact(&mut [0; 24]).await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, b"")).await.unwrap();
    let refusal = [
        field(":status", "401"),
        field("www-authenticate", "Bearer error=\"invalid_token\""),
    ]
    .concat();
    let mut answer = refusal.as_slice();
    loop {
        let received = next_frame(&mut stream).await;
        if received.kind == HEADERS {
            let ends = END_HEADERS | END_STREAM;
            let answer = std::mem::replace(&mut answer, &STATUS_200);
            let bytes = frame(HEADERS, ends, received.stream, answer);
            stream.write_all(&bytes).await.unwrap();
            heads.send(received.payload).unwrap();
        }
    }
}

async fn next_frame(stream: &mut TcpStream) -> Received {
    let mut bytes = vec![0; 9];
    stream.read_exact(&mut bytes).await.unwrap();
    let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
    bytes.resize(9 + length as usize, 0);
    stream.read_exact(&mut bytes[9..]).await.unwrap();
    Received::all(&bytes).remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_indexed_the_first_time_or_the_second() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("h2c://{}", listener.local_addr().unwrap());
    let (provider, other) = (AuthorizationServer::start(), Upstream::start().await);
    let config = simple_config(&provider, &other).replace(&other.origin(), &origin);
    let config = format!("{config}\nheaders = {{ from = {{ env = \"API_KEY\" }} }}");
    let (send, mut heads) = tokio::sync::mpsc::unbounded_channel();
    let upstream = tokio::spawn(refuse_once(listener, send));
    let key = [("API_KEY", "canary-key")];
    let gatepass = Gatepass::start_with(&config, &key).ready().await;

    // The first is answered when it has been sent again with another token.
    for _ in 0..2 {
        assert_eq!(get(gatepass.proxy(), "/").await.status(), StatusCode::OK);
    }
    for which in ["the first", "the same again", "the next"] {
        let head = heads.try_recv().unwrap();
        for secret in [AUTHORIZATION_NEVER_INDEXED, FROM_NEVER_INDEXED] {
            let is_there = head.windows(secret.len()).any(|bytes| bytes == secret);
            assert!(is_there, "{which}: no {secret:02x?} in {head:02x?}");
        }
    }
    assert!(heads.try_recv().is_err(), "no more than three were sent");
    upstream.abort();
}
