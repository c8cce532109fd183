//! Over HTTP/2 requests share connections, and yet none waits for another's caller or upstream.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::Gatepass;
use crate::support::between::Between;
use crate::support::client::PATIENCE;
use crate::support::frames::{
    END_HEADERS, END_STREAM, HEADERS, RST_STREAM, Received, SETTINGS, field, frame,
};
use crate::support::http2::{Pieces, connect, pieces};
use crate::support::wire::{Wire, read_until};

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_take_nothing_hold_up_no_other() {
    let between = Between::start(Version::HTTP_2, async |_| large()).await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        slow.push(takes_nothing(&between.gatepass, "/").await);
    }
    let mut caller = between.through().await;
    let answer = caller.send(Method::GET, "/", pieces().1).await;
    let all = timeout(PATIENCE, answer.into_body().collect()).await;
    let all = all.expect("it waits for nobody").unwrap();
    assert_eq!(all.to_bytes().len(), LARGE);
}

const LARGE: usize = 8 << 20;

fn large() -> Response<Pieces> {
    let piece = Bytes::from_static(&[b'x'; 16 * 1024]);
    let (writer, pieces) = pieces();
    tokio::spawn(async move {
        for _ in 0..LARGE / piece.len() {
            if writer.send(Frame::data(piece.clone())).await.is_err() {
                return;
            }
        }
    });
    Response::new(pieces)
}

/// h2 ends a connection on which too many small frames lie.
#[tokio::test(flavor = "multi_thread")]
async fn events_that_nobody_reads_break_off_no_other_request() {
    let told = Arc::<Notify>::default();
    let tells = Arc::clone(&told);
    let answer = move |request: Request<Incoming>| {
        let tells = Arc::clone(&tells);
        async move {
            match request.uri().path() {
                "/events" => events(tells),
                _ => echo(request.into_body()),
            }
        }
    };
    let between = Between::start(Version::HTTP_2, answer).await;
    let mut caller = between.through().await;
    let (writer, body) = pieces();
    let other = caller.send(Method::POST, "/", body).await;
    let _unread = takes_nothing(&between.gatepass, "/events").await;
    timeout(PATIENCE, told.notified()).await.unwrap();
    writer.send(Frame::data("more".into())).await.unwrap();
    drop(writer);
    let all = timeout(PATIENCE, other.into_body().collect()).await;
    let all = all.unwrap().expect("nothing of it was broken off");
    assert_eq!(all.to_bytes(), "more");
}

/// A frame for each, and in all less than may be under way of an answer.
fn events(told: Arc<Notify>) -> Response<Pieces> {
    let (writer, pieces) = pieces();
    tokio::spawn(async move {
        for _ in 0..20_000 {
            let event = Frame::data(Bytes::from_static(b"data: 42\n\n"));
            if writer.send(event).await.is_err() {
                break;
            }
        }
        told.notify_one();
    });
    Response::new(pieces)
}

fn echo(mut body: Incoming) -> Response<Pieces> {
    let (writer, pieces) = pieces();
    tokio::spawn(async move {
        while let Some(Ok(frame)) = body.frame().await {
            let _ = writer.send(frame).await;
        }
    });
    Response::new(pieces)
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn get(stream: u32, path: &str) -> Vec<u8> {
    // RFC 7541 Appendix A: 2 is ":method GET", 6 is ":scheme http".
    let mut head = vec![0x82, 0x86];
    head.extend(field(":path", path));
    head.extend(field(":authority", "localhost"));
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &head)
}

/// A caller with no room for the answer's body, whose head it has got.
async fn takes_nothing(gatepass: &Gatepass, path: &str) -> TcpStream {
    let mut caller = TcpStream::connect(gatepass.proxy()).await.unwrap();
    // RFC 9113 §6.5.2: SETTINGS_INITIAL_WINDOW_SIZE is 4.
    let no_room = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let bytes = [PREFACE, &no_room, &get(1, path)].concat();
    caller.write_all(&bytes).await.unwrap();
    let mut read = Vec::new();
    while !Received::all(&read).iter().any(Received::answers_with_200) {
        let arrived = timeout(PATIENCE, caller.read_buf(&mut read)).await;
        assert_ne!(arrived.unwrap().unwrap(), 0);
    }
    caller
}

#[tokio::test(flavor = "multi_thread")]
async fn upstreams_that_take_nothing_hold_up_no_other() {
    let wire = Wire::start("").await;
    let caller = connect(wire.gatepass.proxy()).await;
    let mut calls = JoinSet::new();
    let mut call = |body: Bytes| {
        let mut caller = caller.clone();
        let request = Request::post("http://localhost/").body(Full::from(body));
        calls.spawn(async move { caller.send_request(request.unwrap()).await });
    };
    // More than the kernel has room for.
    let large = Bytes::from(vec![b'x'; 32 << 20]);
    let mut upstreams = Vec::new();
    for _ in 0..3 {
        call(large.clone());
        let mut upstream = wire.accept().await;
        read_until(&mut upstream, "\r\n\r\nx").await;
        upstreams.push(upstream);
    }
    call(Bytes::from_static(b"another"));
    let mut upstream = wire.accept().await;
    read_until(&mut upstream, "\r\n\r\nanother").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_called_off_all_at_once_breaks_off_nothing_else() {
    let between = Between::start(Version::HTTP_2, async |_| large()).await;
    let mut caller = TcpStream::connect(between.gatepass.proxy()).await.unwrap();
    let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, b"")].concat();
    for stream in (1..180).step_by(2) {
        bytes.extend(get(stream, "/"));
        // RFC 9113 §7: CANCEL is 8.
        bytes.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    bytes.extend(get(181, "/"));
    caller.write_all(&bytes).await.unwrap();
    let mut read = Vec::new();
    let answered = |frame: &Received| frame.stream == 181 && frame.answers_with_200();
    while !Received::all(&read).iter().any(answered) {
        let arrived = timeout(PATIENCE, caller.read_buf(&mut read)).await;
        assert_ne!(arrived.unwrap().unwrap(), 0, "the connection goes on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_are_told_how_many_requests_may_share_a_connection() {
    let wire = Wire::start_with("proxy.limits.streams = 7", "").await;
    let hello = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &frame(SETTINGS, 0, 0, b"")[..],
    ]
    .concat();
    let mut caller = wire.call(&hello).await;
    let Received { kind, payload, .. } = Received::next(&mut caller).await;
    assert_eq!(kind, SETTINGS);
    // RFC 9113 §6.5.2, SETTINGS_MAX_CONCURRENT_STREAMS.
    let wanted = [0, 3, 0, 0, 0, 7];
    assert!(payload.chunks(6).any(|of| of == wanted), "{payload:?}");
}
