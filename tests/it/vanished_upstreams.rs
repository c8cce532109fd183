//! Promise: kept connections whose other side has vanished cost no request that may be repeated, and of
//! the others one, not one for each connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;

use crate::support::authorization_server::reset;
use crate::support::client::{get, request};
use crate::support::wire::{GET, Wire, read_until};
use crate::support::{AuthorizationServer, Gatepass, Upstream, simple_config};

const KEPT: usize = 4;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// How the connections end that were there before.
#[derive(Debug, Clone, Copy)]
enum End {
    /// All, as if the upstream's machine had been started anew.
    Reset,
    /// All, as if somebody on the way had forgotten them.
    Silence,
    /// One of them, as any does whose time is over.
    Leave,
}

/// Makes gatepass keep some connections, which then end so. What POST is answered after that, one
/// after the other, and how many connections there were in all.
async fn after(end: End) -> (Vec<u16>, usize) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let opened = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&opened);
    tokio::spawn(async move {
        let together = Arc::new(Barrier::new(KEPT));
        let ended = Arc::<AtomicUsize>::default();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let is_old = counted.fetch_add(1, Ordering::Relaxed) < KEPT;
            let (together, ended) = (Arc::clone(&together), Arc::clone(&ended));
            tokio::spawn(async move {
                // gatepass may hang up when it likes.
                let _ = match is_old {
                    true => serve_old(stream, end, &together, &ended).await,
                    false => serve(stream).await,
                };
            });
        }
    });
    let (provider, other) = (AuthorizationServer::start(), Upstream::start().await);
    let config = simple_config(&provider, &other).replace(&other.origin(), &origin);
    let config = format!("{config}\ntimeouts.response_head = \"2s\"");
    let gatepass = Gatepass::start(&config).ready().await;

    let warm = (0..KEPT).map(|_| tokio::spawn(get(gatepass.proxy(), "/")));
    for answer in warm.collect::<Vec<_>>() {
        assert_eq!(answer.await.unwrap().status(), 200);
    }
    let mut told = Vec::new();
    for _ in 0..=KEPT {
        let post = Request::post("/").header("host", "localhost");
        let post: Request<Full<Bytes>> = post.body(Full::from("body")).unwrap();
        told.push(request(gatepass.proxy(), post).await.status().as_u16());
    }
    (told, opened.load(Ordering::Relaxed))
}

/// Answers once, when all others are there as well.
async fn serve_old(
    mut stream: TcpStream,
    end: End,
    together: &Barrier,
    ended: &AtomicUsize,
) -> std::io::Result<()> {
    take(&mut stream).await?;
    together.wait().await;
    stream.write_all(ANSWER).await?;
    take(&mut stream).await?;
    match end {
        End::Reset => reset(stream),
        End::Silence => std::future::pending().await,
        End::Leave if ended.fetch_add(1, Ordering::Relaxed) == 0 => Ok(()),
        End::Leave => {
            stream.write_all(ANSWER).await?;
            serve(stream).await
        }
    }
}

async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    loop {
        take(&mut stream).await?;
        stream.write_all(ANSWER).await?;
    }
}

/// Reads a request to its end.
async fn take(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let is_whole = |bytes: &[u8]| match bytes.starts_with(b"POST") {
        true => bytes.ends_with(b"\r\n\r\nbody"),
        false => bytes.ends_with(b"\r\n\r\n"),
    };
    while !is_whole(&bytes) {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_reset_speaks_for_those_that_waited_as_long() {
    let (told, opened) = after(End::Reset).await;
    assert_eq!(told, [502, 200, 200, 200, 200]);
    assert_eq!(opened, KEPT + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_silent_speaks_for_those_that_waited_as_long() {
    let (told, opened) = after(End::Silence).await;
    assert_eq!(told, [504, 200, 200, 200, 200]);
    assert_eq!(opened, KEPT + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_time_is_over_speaks_for_itself() {
    let (told, opened) = after(End::Leave).await;
    assert_eq!(told, [502, 200, 200, 200, 200]);
    assert_eq!(opened, KEPT);
}

/// It is its caller who is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn one_whose_caller_stalls_says_nothing_of_the_others() {
    let wire = Wire::start("timeouts.idle = \"500ms\"").await;
    let (mut first_caller, mut first) = wire.exchange(GET).await;
    let (mut second_caller, mut second) = wire.exchange(GET).await;
    first.write_all(ANSWER).await.unwrap();
    read_until(&mut first_caller, "200 OK").await;
    second.write_all(ANSWER).await.unwrap();
    read_until(&mut second_caller, "200 OK").await;

    let half = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbo";
    second_caller.write_all(half.as_bytes()).await.unwrap();
    // The one that was used last is taken first.
    read_until(&mut second, "bo").await;
    read_until(&mut second_caller, "\"request_stalled\"").await;
    first_caller.write_all(GET.as_bytes()).await.unwrap();
    read_until(&mut first, "\r\n\r\n").await;
}

/// Nothing on this machine swallows packets. To the kernel an upstream that takes none is the same.
#[cfg(target_os = "linux")]
mod unacknowledged {
    use std::net::SocketAddr;
    use std::time::Duration;

    use socket2::{Domain, Socket, Type};
    use tokio::time::{Instant, sleep, timeout};

    use super::*;
    use crate::support::client::PATIENCE;

    /// Longer than what was sent may stay unacknowledged.
    const PAUSE: Duration = Duration::from_secs(12);

    /// A listener whose connections have little room.
    fn narrow() -> TcpListener {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(1).unwrap();
        socket.set_nonblocking(true).unwrap();
        let address: SocketAddr = "127.0.0.1:0".parse().unwrap();
        socket.bind(&address.into()).unwrap();
        socket.listen(16).unwrap();
        TcpListener::from_std(socket.into()).unwrap()
    }

    async fn before(listener: &TcpListener) -> (Gatepass, AuthorizationServer) {
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let (provider, other) = (AuthorizationServer::start(), Upstream::start().await);
        let config = simple_config(&provider, &other).replace(&other.origin(), &origin);
        (Gatepass::start(&config).ready().await, provider)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_request_that_may_be_repeated_is_soon_repeated() {
        let listener = narrow();
        let (gatepass, _provider) = before(&listener).await;
        let started = Instant::now();
        let long = Request::get("/")
            .header("host", "localhost")
            .header("x-long", "x".repeat(10_000));
        let long = long.body(Full::default()).unwrap();
        let answer = tokio::spawn(request(gatepass.proxy(), long));
        let (_takes_nothing, _) = listener.accept().await.unwrap();
        let fresh = timeout(PATIENCE, listener.accept()).await.unwrap();
        tokio::spawn(serve(fresh.unwrap().0));
        assert_eq!(answer.await.unwrap().status(), 200);
        let took = started.elapsed();
        assert!(took > Duration::from_secs(8), "{took:?}");
    }

    /// What an upload has sent over the connection is answered, and counts no more.
    #[tokio::test(flavor = "multi_thread")]
    async fn one_that_follows_an_upload_is_too() {
        let listener = narrow();
        let (gatepass, _provider) = before(&listener).await;
        let upload = format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 65536\r\n\r\n{}",
            "x".repeat(65_536)
        );
        let mut caller = TcpStream::connect(gatepass.proxy()).await.unwrap();
        caller.write_all(upload.as_bytes()).await.unwrap();
        let (mut upstream, _) = listener.accept().await.unwrap();
        let mut taken = 0;
        while taken <= 65_536 {
            taken += upstream.read(&mut [0; 4096]).await.unwrap();
        }
        // What is still on its way is little.
        let rest = async { while upstream.read(&mut [0; 4096]).await.unwrap() > 0 {} };
        let _ = timeout(Duration::from_millis(200), rest).await;
        upstream.write_all(ANSWER).await.unwrap();
        read_until(&mut caller, "200 OK").await;

        let long = format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: {}\r\n\r\n",
            "x".repeat(10_000)
        );
        caller.write_all(long.as_bytes()).await.unwrap();
        let fresh = timeout(PATIENCE, listener.accept()).await.unwrap();
        tokio::spawn(serve(fresh.unwrap().0));
        read_until(&mut caller, "200 OK").await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_upload_may_pause_for_longer() {
        const LENGTH: usize = 8 << 20;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (gatepass, _provider) = before(&listener).await;
        let upload = Request::post("/").header("host", "localhost");
        let upload = upload.body(Full::from(vec![b'x'; LENGTH])).unwrap();
        let answer = tokio::spawn(request(gatepass.proxy(), upload));
        let (mut upstream, _) = listener.accept().await.unwrap();
        sleep(PAUSE).await;
        let mut taken = 0;
        while taken <= LENGTH {
            let read = upstream.read(&mut [0; 65_536]).await.unwrap();
            assert_ne!(read, 0, "it broke off after {taken}");
            taken += read;
        }
        upstream.write_all(ANSWER).await.unwrap();
        assert_eq!(answer.await.unwrap().status(), 200);
    }
}
