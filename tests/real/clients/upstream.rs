//! An upstream with something of everything that an upstream may answer. It remembers what it saw.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HOST, IF_NONE_MATCH,
    LOCATION, SET_COOKIE, TRANSFER_ENCODING, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Which connection it came on.
    pub connection: usize,
    pub version: Version,
    pub method: Method,
    pub scheme: String,
    /// Path and query: whoever takes this server for a proxy asks for a whole address.
    pub target: String,
    /// Where HTTP/2 has an authority, it stands here as `Host`.
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// The server. It ends when it is dropped.
pub struct Upstream {
    address: SocketAddr,
    has_tls: bool,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Upstream {
    /// It speaks this version of HTTP and no other.
    pub async fn start(version: Version, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let has_tls = tls.is_some();
        let seen = Arc::default();
        let task = tokio::spawn(accept(listener, version, tls, Arc::clone(&seen)));
        Self {
            address,
            has_tls,
            seen,
            task,
        }
    }

    /// With TLS by the name that its certificate has.
    pub fn authority(&self) -> String {
        match self.has_tls {
            true => format!("localhost:{}", self.address.port()),
            false => self.address.to_string(),
        }
    }

    /// The requests that came since this was asked last, oldest first.
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    version: Version,
    tls: Option<TlsAcceptor>,
    seen: Arc<Mutex<Vec<Seen>>>,
) {
    for connection in 1.. {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (tls, seen) = (tls.clone(), Arc::clone(&seen));
        tokio::spawn(async move {
            match tls {
                None => serve(stream, version, connection, seen).await,
                Some(tls) => {
                    let stream = tls.accept(stream).await.unwrap();
                    serve(stream, version, connection, seen).await;
                }
            }
        });
    }
}

async fn serve<T>(stream: T, version: Version, connection: usize, seen: Arc<Mutex<Vec<Seen>>>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| answer(request, connection, Arc::clone(&seen)));
    let io = TokioIo::new(stream);
    // A client that has what it wants may hang up as it likes.
    let _ = match version {
        Version::HTTP_2 => {
            let server = http2::Builder::new(TokioExecutor::new());
            server.serve_connection(io, service).await
        }
        _ => {
            let server = http1::Builder::new();
            server.serve_connection(io, service).await
        }
    };
}

async fn answer(
    request: Request<Incoming>,
    connection: usize,
    seen: Arc<Mutex<Vec<Seen>>>,
) -> Result<Response<Content>, Infallible> {
    let (mut head, body) = request.into_parts();
    if head.version == Version::HTTP_2 {
        let authority = head.uri.authority().unwrap().as_str();
        head.headers.append(HOST, authority.try_into().unwrap());
    }
    let path = head.uri.path().to_owned();
    // Whoever waits to be asked for the body is not asked for this one.
    let body = match path.as_str() {
        "/refuse" => Bytes::new(),
        _ => body.collect().await.unwrap().to_bytes(),
    };
    let request = Seen {
        connection,
        version: head.version,
        method: head.method,
        target: head.uri.path_and_query().unwrap().to_string(),
        scheme: head.uri.scheme_str().unwrap_or("http").to_owned(),
        headers: head.headers,
        body,
    };
    let mut response = respond(&path, &request);
    if request.method == Method::HEAD {
        // In HTTP/2 hyper would send it.
        let content = std::mem::replace(response.body_mut(), Content::known(""));
        let length = content.bytes.as_ref().map_or(0, Bytes::len);
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    seen.lock().unwrap().push(request);
    Ok(response)
}

fn respond(path: &str, request: &Seen) -> Response<Content> {
    let field = |name| request.headers.get(name);
    let mut response = Response::new(Content::known(format!(
        "{} {}",
        request.method, request.target
    )));
    let headers = response.headers_mut();
    match path {
        "/echo" => {
            if let Some(content_type) = field(CONTENT_TYPE) {
                headers.insert(CONTENT_TYPE, content_type.clone());
            }
            *response.body_mut() = Content {
                bytes: Some(request.body.clone()),
                length_is_known: field(TRANSFER_ENCODING).is_none(),
            };
        }
        "/page" => *response.body_mut() = Content::known("x".repeat(1024)),
        "/none" => {
            *response.status_mut() = StatusCode::NO_CONTENT;
            *response.body_mut() = Content::known("");
        }
        "/tagged" => {
            headers.insert(ETAG, TAG);
            if field(IF_NONE_MATCH) == Some(&TAG) {
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                *response.body_mut() = Content::known("");
            }
        }
        "/gzip" => {
            headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
            let accepted = field(ACCEPT_ENCODING).map_or("", |value| value.to_str().unwrap());
            if accepted.contains("gzip") {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                *response.body_mut() = Content::known(SQUEEZED);
            }
        }
        "/fields" => {
            for cookie in ["a=1; Path=/", "b=2; Path=/"] {
                headers.append(SET_COOKIE, HeaderValue::from_static(cookie));
            }
            let latin1 = HeaderValue::from_bytes(b"Gr\xfc\xdfe").unwrap();
            headers.insert("x-note", latin1);
            headers.insert("x-empty", HeaderValue::from_static(""));
        }
        // By the name by which the request came, as most servers do it.
        "/redirect" => {
            let host = field(HOST).unwrap().to_str().unwrap();
            let location = format!("{}://{host}/landed?from=here", request.scheme);
            headers.insert(LOCATION, location.try_into().unwrap());
            *response.status_mut() = StatusCode::FOUND;
        }
        "/moved" => {
            headers.insert(LOCATION, HeaderValue::from_static("/echo"));
            *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
        }
        "/refuse" => *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE,
        _ => {}
    }
    response
}

const TAG: HeaderValue = HeaderValue::from_static("\"1\"");

/// A line of text twenty times, in gzip.
const SQUEEZED: &[u8] = &[
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0x2b, 0x2e, 0x2c, 0x4d, 0x4d, 0xad,
    0x4a, 0x4d, 0x51, 0x48, 0xcb, 0x2f, 0x52, 0x48, 0x4f, 0x2c, 0x49, 0x2d, 0x48, 0x2c, 0x2e, 0xe6,
    0x2a, 0x1e, 0x15, 0x1d, 0xe4, 0xa2, 0x00, 0x2d, 0xfa, 0x21, 0xf9, 0xb8, 0x01, 0x00, 0x00,
];

/// A body whose length is told, or not: then it goes out in chunks.
struct Content {
    bytes: Option<Bytes>,
    length_is_known: bool,
}

impl Content {
    fn known(bytes: impl Into<Bytes>) -> Self {
        Self {
            bytes: Some(bytes.into()),
            length_is_known: true,
        }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = self.bytes.take().filter(|bytes| !bytes.is_empty());
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn size_hint(&self) -> SizeHint {
        let length = self.bytes.as_ref().map_or(0, Bytes::len) as u64;
        match self.length_is_known {
            true => SizeHint::with_exact(length),
            false => SizeHint::default(),
        }
    }
}
