//! Promise: of an upstream that stops reading nothing is left once nobody needs its connection any more:
//! what could not be sent to it is given up, and is counted until then.

use std::future::pending;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::certificates::Authority;
use crate::support::client::PATIENCE;
use crate::support::frames::{
    END_HEADERS, END_STREAM, HEADERS, SETTINGS, STATUS_200, WINDOW_UPDATE, frame,
};
use crate::support::wire::{Wire, read_until};
use crate::support::{AuthorizationServer, Gatepass, Upstream, eventually, simple_config};

/// More than sockets hold.
const LENGTH: usize = 32 << 20;

const UPLOADS: usize = 5;

const OPENED: &str = r#"gatepass_upstream_connections_opened_total{route="root"}"#;
const OPEN: &str = r#"gatepass_upstream_connections_open{route="root"}"#;

/// What an upstream says before it reads no more.
#[derive(Debug, Clone, Copy)]
enum Deaf {
    SaysNothing,
    Answers,
    /// Takes as much as there is, a request on each connection.
    OpensItsWindows,
}

async fn stop_reading<T: AsyncRead + AsyncWrite + Unpin>(mut stream: T, deaf: Deaf) {
    stream.read_exact(&mut [0; 24]).await.unwrap();
    let answer = match deaf {
        Deaf::SaysNothing => Vec::new(),
        Deaf::Answers => b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec(),
        Deaf::OpensItsWindows => {
            // RFC 9113 §6.5.2: SETTINGS_MAX_CONCURRENT_STREAMS, SETTINGS_INITIAL_WINDOW_SIZE.
            let settings = [0, 3, 0, 0, 0, 1, 0, 4, 0x7f, 0xff, 0xff, 0xff];
            let mut bytes = frame(SETTINGS, 0, 0, &settings);
            bytes.extend(frame(WINDOW_UPDATE, 0, 0, &0x7000_0000_u32.to_be_bytes()));
            bytes
        }
    };
    stream.write_all(&answer).await.unwrap();
    pending::<()>().await;
}

/// Uploads to it, and waits until nothing is left.
async fn nothing_is_left(scheme: &str, deaf: Deaf) {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, authority.pem()).unwrap();
    let tls = authority.server().server_tls(&[]);

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let is_tls = scheme == "https";
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let tls = tls.clone();
            tokio::spawn(async move {
                match is_tls {
                    true => stop_reading(tls.accept(stream).await.unwrap(), deaf).await,
                    false => stop_reading(stream, deaf).await,
                }
            });
        }
    });
    let (provider, other) = (AuthorizationServer::start(), Upstream::start().await);
    let origin = format!("{scheme}://localhost:{port}");
    let config = simple_config(&provider, &other).replace(&other.origin(), &origin);
    let trust = match is_tls {
        true => format!("tls.ca_file = \"{}\"", ca_file.display()),
        false => String::new(),
    };
    // Longer than callers on a busy machine pause.
    let timeouts = "timeouts = { idle = \"3s\", keep_alive = \"500ms\" }";
    let gatepass = Gatepass::start(&format!("{config}\n{trust}\n{timeouts}"))
        .ready()
        .await;
    let before = gatepass.metric("process_open_fds").await;

    let mut uploads: JoinSet<_> = (0..UPLOADS).map(|_| upload(gatepass.proxy())).collect();
    while let Some(told) = timeout(PATIENCE, uploads.join_next()).await.unwrap() {
        let told = told.unwrap();
        let wanted = match deaf {
            Deaf::Answers => "HTTP/1.1 200 ",
            Deaf::SaysNothing | Deaf::OpensItsWindows => "HTTP/1.1 504 ",
        };
        assert!(told.is_empty() || told.starts_with(wanted), "{told}");
    }
    assert_eq!(gatepass.metric(OPENED).await, UPLOADS as f64);
    gatepass.wait_for_metric(OPEN, 0.0).await;
    eventually(
        &format!("{scheme}, {deaf:?}: no descriptor is left"),
        async || gatepass.metric("process_open_fds").await <= before,
    )
    .await;
}

/// What a caller is told who sends much. Nothing if the reset that follows an answer to a request that
/// was not read overtakes it.
async fn upload(address: SocketAddr) -> String {
    let mut caller = TcpStream::connect(address).await.unwrap();
    let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {LENGTH}\r\n\r\n");
    let (mut reading, mut writing) = caller.split();
    let mut told = Vec::new();
    let answered = async {
        while !told.windows(4).any(|four| four == b"\r\n\r\n") {
            match reading.read_buf(&mut told).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    };
    let sent = async {
        let _ = writing.write_all(head.as_bytes()).await;
        let _ = writing.write_all(&vec![b'x'; LENGTH]).await;
        pending::<()>().await;
    };
    tokio::select! {
        () = answered => {}
        () = sent => {}
    }
    String::from_utf8(told).unwrap()
}

/// Longer than anything waits that is not an upload.
const PAUSE: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_after_its_answer_and_a_pause() {
    let wire = Wire::start("").await;
    let begun = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12345";
    let (mut caller, mut upstream) = wire.exchange(begun).await;
    let answer = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";
    upstream.write_all(answer).await.unwrap();
    read_until(&mut caller, "202 Accepted").await;
    tokio::time::sleep(PAUSE).await;
    caller.write_all(b"67890").await.unwrap();
    read_until(&mut upstream, "67890").await;
}

/// Nor when its connection takes no other request meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn it_does_so_over_http2() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (provider, other) = (AuthorizationServer::start(), Upstream::start().await);
    let origin = format!("h2c://{}", listener.local_addr().unwrap());
    let config = simple_config(&provider, &other).replace(&other.origin(), &origin);
    let config = format!("{config}\ntimeouts.keep_alive = \"200ms\"");
    let gatepass = Gatepass::start(&config).ready().await;
    let begun = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12345";
    let mut caller = TcpStream::connect(gatepass.proxy()).await.unwrap();
    caller.write_all(begun.as_bytes()).await.unwrap();
    let (mut upstream, _) = listener.accept().await.unwrap();
    let settings = frame(SETTINGS, 0, 0, b"");
    upstream.write_all(&settings).await.unwrap();
    read_until_data(&mut upstream, "12345").await;
    let answer = frame(HEADERS, END_STREAM | END_HEADERS, 1, &STATUS_200);
    upstream.write_all(&answer).await.unwrap();
    read_until(&mut caller, "200 OK").await;
    tokio::time::sleep(PAUSE).await;
    caller.write_all(b"67890").await.unwrap();
    read_until_data(&mut upstream, "67890").await;
}

/// Reads until something has come among frames.
async fn read_until_data(stream: &mut TcpStream, wanted: &str) {
    let mut bytes = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&bytes).contains(wanted) {
            let read = stream.read_buf(&mut bytes).await.unwrap();
            assert_ne!(read, 0, "ended before {wanted:?}");
        }
    };
    timeout(PATIENCE, reading).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_one_that_speaks_tls() {
    nothing_is_left("https", Deaf::SaysNothing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_one_that_answers_early() {
    nothing_is_left("http", Deaf::Answers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_one_that_speaks_http2() {
    nothing_is_left("h2c", Deaf::OpensItsWindows).await;
}
