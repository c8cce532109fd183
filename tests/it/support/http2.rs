//! HTTP/2 on both sides of gatepass.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A body that is written piece by piece.
pub struct Pieces(mpsc::Receiver<Frame<Bytes>>);

/// The other end of it.
pub type Writer = mpsc::Sender<Frame<Bytes>>;

pub fn pieces() -> (Writer, Pieces) {
    let (writer, pieces) = mpsc::channel(1);
    (writer, Pieces(pieces))
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

/// A caller that knows beforehand that HTTP/2 is spoken.
pub async fn connect<B>(address: SocketAddr) -> SendRequest<B>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + Unpin
        + 'static,
{
    connect_over(TcpStream::connect(address).await.unwrap()).await
}

/// The same over whatever is connected already.
pub async fn connect_over<B, T>(stream: T) -> SendRequest<B>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + Unpin
        + 'static,
{
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

pub fn get_request(path: &str) -> Request<Full<Bytes>> {
    let request = Request::get(format!("http://localhost{path}"));
    request.body(Full::default()).unwrap()
}

/// An upstream that speaks HTTP/2 alone. It sends every piece of a body back as it comes, then
/// trailers with what it saw: `seen-trailers` counts the caller's, `seen-host` and
/// `seen-authorization` repeat the head's.
pub struct Http2Upstream {
    address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    connections: AtomicUsize,
    heads: Mutex<Vec<http::request::Parts>>,
}

impl Http2Upstream {
    pub async fn start(most_streams: u32) -> Self {
        Self::start_with(most_streams, None).await
    }

    /// The same with TLS, where HTTP/2 is agreed on.
    pub async fn start_with(most_streams: u32, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<State>::default();
        let for_task = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                for_task.connections.fetch_add(1, Ordering::Relaxed);
                let (state, tls) = (Arc::clone(&for_task), tls.clone());
                tokio::spawn(async move {
                    let Some(tls) = tls else {
                        return serve_to(stream, most_streams, state).await;
                    };
                    // A handshake that fails is what some tests are about.
                    if let Ok(stream) = tls.accept(stream).await {
                        serve_to(stream, most_streams, state).await;
                    }
                });
            }
        });
        Self {
            address,
            state,
            task,
        }
    }

    /// As a route names it.
    pub fn origin(&self) -> String {
        format!("h2c://{}", self.address)
    }

    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }

    pub fn requests(&self) -> usize {
        self.state.heads.lock().unwrap().len()
    }

    /// The head of the last request.
    pub fn last(&self) -> http::request::Parts {
        let heads = self.state.heads.lock().unwrap();
        heads.last().expect("a request has come").clone()
    }
}

impl Drop for Http2Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers what comes over a connection.
pub async fn serve(stream: TcpStream) {
    serve_to(stream, 100, Arc::default()).await;
}

async fn serve_to<T>(stream: T, most_streams: u32, state: Arc<State>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| answer(request, Arc::clone(&state)));
    let _ = http2::Builder::new(TokioExecutor::new())
        .max_concurrent_streams(most_streams)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<State>,
) -> Result<Response<Pieces>, Infallible> {
    let (head, mut body) = request.into_parts();
    state.heads.lock().unwrap().push(head);
    let (writer, pieces) = pieces();
    tokio::spawn(async move {
        let mut trailers = HeaderMap::new();
        while let Some(Ok(frame)) = body.frame().await {
            match frame.into_data() {
                Ok(data) => writer.send(Frame::data(data)).await.unwrap(),
                Err(frame) => trailers = frame.into_trailers().unwrap(),
            }
        }
        let count = trailers.len();
        trailers.insert("seen-trailers", HeaderValue::from(count));
        let _ = writer.send(Frame::trailers(trailers)).await;
    });
    Ok(Response::new(pieces))
}
