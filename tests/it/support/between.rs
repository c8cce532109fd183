//! gatepass between a caller and an upstream that speak the same version of HTTP.

use std::convert::Infallible;
use std::net::SocketAddr;

use http::{Method, Request, Response, Version};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::http2::Pieces;
use super::{AuthorizationServer, Gatepass, Upstream, client, simple_config};

/// The upstream, with two ways to it.
pub struct Between {
    pub gatepass: Gatepass,
    version: Version,
    upstream: SocketAddr,
    task: JoinHandle<()>,
    _provider: AuthorizationServer,
}

impl Between {
    /// With an upstream that answers so.
    pub async fn start<A>(
        version: Version,
        answer: impl Fn(Request<Incoming>) -> A + Answer,
    ) -> Self
    where
        A: Future<Output = Response<Pieces>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = listener.local_addr().unwrap();
        let task = tokio::spawn(serve(listener, version, answer));
        let provider = AuthorizationServer::start();
        let other = Upstream::start().await;
        let scheme = match version {
            Version::HTTP_2 => "h2c",
            _ => "http",
        };
        let config = simple_config(&provider, &other)
            .replace(&other.origin(), &format!("{scheme}://{upstream}"));
        Self {
            gatepass: Gatepass::start(&config).ready().await,
            version,
            upstream,
            task,
            _provider: provider,
        }
    }

    /// A connection to the upstream itself.
    pub async fn straight(&self) -> Caller {
        Caller::connect(self.upstream, self.version).await
    }

    /// A connection to gatepass.
    pub async fn through(&self) -> Caller {
        Caller::connect(self.gatepass.proxy(), self.version).await
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a function has to be to answer on every connection.
pub trait Answer: Clone + Send + Sync + 'static {}

impl<T: Clone + Send + Sync + 'static> Answer for T {}

async fn serve<A>(
    listener: TcpListener,
    version: Version,
    answer: impl Fn(Request<Incoming>) -> A + Answer,
) where
    A: Future<Output = Response<Pieces>> + Send + 'static,
{
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let answer = answer.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let response = answer(request);
                async { Ok::<_, Infallible>(response.await) }
            });
            let io = TokioIo::new(stream);
            // A caller that has what it wants may hang up as it likes.
            let _ = match version {
                Version::HTTP_2 => {
                    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(io, service)
                        .await
                }
                _ => {
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(io, service)
                        .await
                }
            };
        });
    }
}

/// A connection for any number of requests.
pub enum Caller {
    Http1(http1::SendRequest<Pieces>),
    Http2(http2::SendRequest<Pieces>),
}

impl Caller {
    async fn connect(address: SocketAddr, version: Version) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        match version {
            Version::HTTP_2 => Self::Http2(super::http2::connect_over(stream).await),
            _ => Self::Http1(client::connect_over(stream).await),
        }
    }

    pub async fn send(&mut self, method: Method, path: &str, body: Pieces) -> Response<Incoming> {
        let request = Request::builder().method(method);
        let response = match self {
            Self::Http1(sender) => {
                let request = request.uri(path).header("host", "localhost");
                sender.ready().await.unwrap();
                sender.send_request(request.body(body).unwrap()).await
            }
            Self::Http2(sender) => {
                let request = request.uri(format!("http://localhost{path}"));
                sender.ready().await.unwrap();
                sender.send_request(request.body(body).unwrap()).await
            }
        };
        response.unwrap()
    }
}
