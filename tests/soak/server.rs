//! An upstream that is restarted as good servers are: what it has taken it answers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub struct Server {
    pub address: SocketAddr,
    pub tls: Option<Arc<Mutex<Arc<ServerConfig>>>>,
    pub answered: Arc<AtomicU64>,
    /// How long it thinks about each request.
    pub delay: Duration,
    running: Option<Running>,
}

struct Running {
    stopping: CancellationToken,
    accepting: JoinHandle<()>,
    connections: TaskTracker,
}

impl Server {
    pub fn start(address: &str) -> Self {
        Self::start_with(address, None, Duration::ZERO)
    }

    pub fn start_with(address: &str, tls: Option<Arc<ServerConfig>>, delay: Duration) -> Self {
        let mut server = Self {
            address: address.parse().unwrap(),
            tls: tls.map(|tls| Arc::new(Mutex::new(tls))),
            answered: Arc::default(),
            delay,
            running: None,
        };
        server.come_up();
        server
    }

    pub fn come_up(&mut self) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(self.address).unwrap();
        let listener = socket.listen(1024).unwrap();
        self.address = listener.local_addr().unwrap();
        let running = Running {
            stopping: CancellationToken::new(),
            accepting: tokio::spawn(async {}),
            connections: TaskTracker::new(),
        };
        let accepting = accept(
            listener,
            self.tls.clone(),
            running.stopping.clone(),
            running.connections.clone(),
            (self.delay, Arc::clone(&self.answered)),
        );
        self.running = Some(Running {
            accepting: tokio::spawn(accepting),
            ..running
        });
    }

    /// Takes nothing new, finishes what it has, and is gone.
    pub async fn go_down(&mut self) {
        let running = self.running.take().unwrap();
        running.stopping.cancel();
        running.accepting.await.unwrap();
        running.connections.close();
        running.connections.wait().await;
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<Arc<Mutex<Arc<ServerConfig>>>>,
    stopping: CancellationToken,
    connections: TaskTracker,
    how: (Duration, Arc<AtomicU64>),
) {
    loop {
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted.unwrap(),
            () = stopping.cancelled() => break,
        };
        stream.set_nodelay(true).unwrap();
        let (stopping, how) = (stopping.clone(), how.clone());
        let acceptor = tls
            .as_ref()
            .map(|tls| TlsAcceptor::from(Arc::clone(&tls.lock().unwrap())));
        connections.spawn(async move {
            match acceptor {
                None => serve(stream, stopping, how).await,
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, stopping, how).await;
                    }
                }
            }
        });
    }
}

async fn serve<S>(stream: S, stopping: CancellationToken, how: (Duration, Arc<AtomicU64>))
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| answer(request, how.clone()));
    let mut connection =
        std::pin::pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stopping.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

async fn answer(
    request: Request<Incoming>,
    (delay, answered): (Duration, Arc<AtomicU64>),
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.headers().get("authorization").is_none() {
        let refusal = Response::builder().status(401);
        return Ok(refusal.body(Full::default()).unwrap());
    }
    let body = request.into_body().collect().await;
    let body = body.map_or_else(|_| Bytes::new(), http_body_util::Collected::to_bytes);
    tokio::time::sleep(delay).await;
    answered.fetch_add(1, Ordering::Relaxed);
    Ok(Response::new(Full::new(body)))
}
