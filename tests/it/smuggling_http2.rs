//! What HTTP/2 can say and HTTP/1.1 cannot must not become a request of its own on the way down.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::client::PATIENCE;
use crate::support::frames::{
    DATA, END_HEADERS, END_STREAM, HEADERS, Received, SETTINGS, field, frame,
};
use crate::support::strict_upstream::StrictUpstream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SMUGGLED: &str = "x\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";

type Fields<'a> = &'a [(&'a str, &'a str)];

/// A request's pseudo-fields, before what a case adds.
const PLAIN: Fields<'static> = &[
    (":method", "POST"),
    (":scheme", "http"),
    (":authority", "localhost"),
    (":path", "/a"),
];

/// What the caller is answered over one connection for one request.
async fn send(address: std::net::SocketAddr, fields: Fields<'_>, body: &[u8]) -> Vec<Received> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head: Vec<u8> = fields
        .iter()
        .flat_map(|(name, value)| field(name, value))
        .collect();
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, b""));
    bytes.extend(frame(HEADERS, END_HEADERS, 1, &head));
    bytes.extend(frame(DATA, END_STREAM, 1, body));
    // It may be closed while this is being written.
    let _ = stream.write_all(&bytes).await;
    let mut all = Vec::new();
    let reading = async {
        loop {
            let received = Received::all(&all);
            if received.iter().any(Received::ends_first_stream) {
                return received;
            }
            match stream.read_buf(&mut all).await {
                Ok(0) | Err(_) => return received,
                Ok(_) => {}
            }
        }
    };
    timeout(PATIENCE, reading).await.expect("an end in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_malformed_reaches_the_upstream() {
    let (gatepass, strict) = StrictUpstream::behind_gatepass().await;
    let with = |more: Fields<'static>| [PLAIN, more].concat();
    let instead = |name: &'static str, value: &'static str| {
        let mut fields = PLAIN.to_vec();
        fields.retain(|(of, _)| *of != name);
        fields.insert(0, (name, value));
        fields
    };
    let malformed = [
        // RFC 9113 §8.2.1: no CR, LF or NUL in values, no capitals or others in names.
        with(&[("x", SMUGGLED)]),
        with(&[("x", "a\nb")]),
        with(&[("x", "a\rb")]),
        with(&[("x", "a\0b")]),
        with(&[("x\r\ny: z", "1")]),
        with(&[("X-Upper", "1")]),
        with(&[("x y", "1")]),
        with(&[("x:", "1")]),
        with(&[("", "1")]),
        // §8.2.2: nothing that concerns one connection of HTTP/1.1.
        with(&[("transfer-encoding", "chunked")]),
        with(&[("connection", "transfer-encoding")]),
        with(&[("connection", "close")]),
        with(&[("upgrade", "websocket")]),
        with(&[("keep-alive", "1")]),
        with(&[("proxy-connection", "keep-alive")]),
        with(&[("te", "chunked")]),
        // §8.3: pseudo-fields once, before the others, and none but these.
        with(&[(":method", "GET")]),
        with(&[(":path", "/b")]),
        with(&[("x", "1"), (":authority", "localhost")]),
        with(&[(":status", "200")]),
        with(&[(":unknown", "1")]),
        PLAIN[1..].to_vec(),
        PLAIN[..3].to_vec(),
        instead(":path", ""),
        instead(":path", "a"),
        instead(":path", "/a b"),
        instead(":path", "/a\r\nX: y"),
        instead(
            ":path",
            "/a HTTP/1.1\r\nHost: localhost\r\n\r\nGET /smuggled",
        ),
        instead(":method", "GET /smuggled HTTP/1.1\r\nX:"),
        instead(":method", "GET "),
        instead(":method", ""),
        instead(":authority", "localhost\r\nX: y"),
        instead(":authority", "user@localhost"),
        instead(":authority", "localhost:port"),
        // §8.1.1: a length that is none, or not that of the body.
        with(&[("content-length", "5")]),
        with(&[("content-length", "500")]),
        with(&[("content-length", "+4")]),
        with(&[("content-length", "4"), ("content-length", "5")]),
        with(&[("content-length", "x")]),
    ];
    for fields in &malformed {
        let received = send(gatepass.proxy(), fields, b"body").await;
        let seen = strict.take();
        assert!(seen.is_empty(), "{fields:?}: {seen:?}");
        let ok = received.iter().any(Received::answers_with_200);
        assert!(!ok, "{fields:?}: {received:?}");
    }
    assert!(malformed.len() >= 35);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_odd_and_allowed_arrives_framed_in_one_way() {
    let (gatepass, strict) = StrictUpstream::behind_gatepass().await;
    let body = SMUGGLED.as_bytes();
    for more in [
        &[] as Fields<'_>,
        &[
            ("authorization", "Basic mine"),
            ("authorization", "Basic again"),
        ],
        &[("host", "localhost")],
        &[("te", "trailers")],
        &[("trailer", "authorization")],
        &[("cookie", "a"), ("cookie", "b")],
        &[("content-type", "application/grpc"), ("x", "\u{e9}")],
    ] {
        let received = send(gatepass.proxy(), &[PLAIN, more].concat(), body).await;
        assert!(
            received.iter().any(Received::answers_with_200),
            "{more:?}: {received:?}"
        );
        assert_eq!(strict.take(), [Ok("/a".to_owned())], "{more:?}");
    }
}
