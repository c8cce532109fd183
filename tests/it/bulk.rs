//! Bodies of any size need the same memory, whichever way they go.
#![expect(clippy::print_stdout, reason = "it is read for its figures")]

use bytes::Bytes;
use http::{Method, Request, Response, Version};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};

use crate::support::between::{Between, Caller};
use crate::support::http2::{Pieces, pieces};

/// How many megabytes go up and come down, unless `BULK_MEGABYTES` says otherwise.
const MEGABYTES: usize = 64;
/// What the first megabytes may need: buffers grow to their size.
const WARM_UP: usize = 8;
/// By how much those that follow may let the process grow.
const GROWTH_KIB: u64 = 4 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_flat_over_http1() {
    measure(Version::HTTP_11).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_flat_over_http2() {
    measure(Version::HTTP_2).await;
}

async fn measure(version: Version) {
    let megabytes = std::env::var("BULK_MEGABYTES");
    let megabytes = megabytes.map_or(MEGABYTES, |count| count.parse().unwrap());
    let between = Between::start(version, answer).await;
    let mut caller = between.through().await;
    up(&mut caller, WARM_UP).await;
    down(&mut caller, WARM_UP).await;
    let before = between.gatepass.peak_memory_kib();
    up(&mut caller, megabytes).await;
    let after_up = between.gatepass.peak_memory_kib();
    down(&mut caller, megabytes).await;
    let after_down = between.gatepass.peak_memory_kib();
    println!(
        "{megabytes} MB over {version:?}: at most {before} KiB before, {after_up} KiB after them \
         up, {after_down} KiB after them down"
    );
    // The kernel's count is off by some pages at a time, either way.
    let grown = after_down.saturating_sub(before);
    assert!(grown < GROWTH_KIB, "is a body collected?");
}

async fn up(caller: &mut Caller, megabytes: usize) {
    let answer = caller.send(Method::POST, "/", body(megabytes)).await;
    let counted = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(counted, (megabytes * MEGABYTE).to_string());
}

async fn down(caller: &mut Caller, megabytes: usize) {
    let (_, nothing) = pieces();
    let path = format!("/{megabytes}");
    let answer = caller.send(Method::GET, &path, nothing).await;
    assert_eq!(count(answer.into_body()).await, megabytes * MEGABYTE);
}

/// What was posted is counted; a number is answered with so many megabytes.
async fn answer(request: Request<Incoming>) -> Response<Pieces> {
    let number = request.uri().path().strip_prefix('/').unwrap();
    if let Ok(megabytes) = number.parse() {
        return Response::new(body(megabytes));
    }
    let counted = count(request.into_body()).await.to_string();
    let (writer, text) = pieces();
    writer.send(Frame::data(counted.into())).await.unwrap();
    Response::new(text)
}

async fn count(mut body: Incoming) -> usize {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame.unwrap().into_data().unwrap().len();
    }
    bytes
}

fn body(megabytes: usize) -> Pieces {
    let (writer, pieces) = pieces();
    tokio::spawn(async move {
        let piece = Bytes::from_static(&[b'x'; PIECE]);
        for _ in 0..megabytes * MEGABYTE / PIECE {
            writer.send(Frame::data(piece.clone())).await.unwrap();
        }
    });
    pieces
}

const MEGABYTE: usize = 1_000_000;
const PIECE: usize = 50_000;
