//! Where the browser comes back to: a listener on loopback for one login (RFC 8252 §7.3).

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Collected, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use url::{Host, Url};

use crate::oauth::{Authorization, Returned};
use crate::token::source::{FailureKind, FetchError};

/// The listener.
pub(super) struct Callback {
    listener: std::net::TcpListener,
    address: Url,
}

type Fields = Vec<(String, String)>;
type Verdict = Result<Fields, FetchError>;

impl Callback {
    /// Listens where the redirect URI says; on any port if it names none.
    pub(super) fn listen(redirect_uri: &Url) -> io::Result<Self> {
        let ip = match redirect_uri.host() {
            Some(Host::Ipv6(_)) => Ipv6Addr::LOCALHOST.into(),
            _ => Ipv4Addr::LOCALHOST.into(),
        };
        let port = redirect_uri.port().unwrap_or(0);
        let listener = std::net::TcpListener::bind(SocketAddr::new(ip, port))?;
        listener.set_nonblocking(true)?;
        let mut address = redirect_uri.clone();
        let _ = address.set_port(Some(listener.local_addr()?.port()));
        Ok(Self { listener, address })
    }

    /// Where the browser is to be sent back to.
    pub(super) fn address(&self) -> &Url {
        &self.address
    }

    /// Waits for the answer that belongs to this login. Whoever comes with another is sent away.
    pub(super) async fn answer(&self, authorization: &Authorization) -> Verdict {
        let taken = self.listener.try_clone().and_then(TcpListener::from_std);
        let listener = taken.map_err(|error| {
            let why = format!("the browser cannot be waited for: {error}");
            FailureKind::Misconfigured.because(why)
        })?;
        let (sender, mut calls) = mpsc::channel(1);
        let path: Rc<str> = self.address.path().into();
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                // A browser opens some on suspicion.
                accepted = listener.accept(), if connections.len() < MOST_CONNECTIONS => {
                    if let Ok((stream, _)) = accepted {
                        connections.spawn_local(serve(stream, Rc::clone(&path), sender.clone()));
                    }
                }
                Some(_) = connections.join_next() => {}
                Some(Call { fields, reply }) = calls.recv() => {
                    let returned = authorization.judge(fields);
                    let (page, verdict) = match returned {
                        Returned::Foreign => (page(StatusCode::BAD_REQUEST, FOREIGN), None),
                        Returned::Refused(why) => (page(StatusCode::OK, REFUSED), Some(Err(why))),
                        Returned::Answer(fields) => (page(StatusCode::OK, OVER), Some(Ok(fields))),
                    };
                    let _ = reply.send(page);
                    if let Some(verdict) = verdict {
                        // The page is still on its way.
                        let last = async { while connections.join_next().await.is_some() {} };
                        let _ = timeout(FAREWELL, last).await;
                        return verdict;
                    }
                }
            }
        }
    }
}

/// What came, and where the page for it goes.
struct Call {
    fields: Fields,
    reply: oneshot::Sender<Response<Full<Bytes>>>,
}

async fn serve(stream: TcpStream, path: Rc<str>, calls: mpsc::Sender<Call>) {
    let service = service_fn(move |request| answer(request, Rc::clone(&path), calls.clone()));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // A browser that goes away is no concern of ours.
    let _ = timeout(PATIENCE * 2, connection).await;
}

async fn answer(
    request: Request<Incoming>,
    path: Rc<str>,
    calls: mpsc::Sender<Call>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() != &*path {
        return Ok(page(StatusCode::NOT_FOUND, FOREIGN));
    }
    let text = match (request.method(), request.uri().query()) {
        (&Method::GET, Some(query)) => query.to_owned(),
        // What stands behind a # is not sent: a script has to do that.
        (&Method::GET, None) => return Ok(relay()),
        (&Method::POST, _) => {
            let body = Limited::new(request.into_body(), LARGEST_BODY)
                .collect()
                .await;
            let bytes = body.map_or_else(|_| Bytes::new(), Collected::to_bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        }
        _ => return Ok(page(StatusCode::METHOD_NOT_ALLOWED, FOREIGN)),
    };
    let fields = form_urlencoded::parse(text.as_bytes())
        .into_owned()
        .collect();
    let (reply, page_of) = oneshot::channel();
    let sent = calls.send(Call { fields, reply }).await;
    Ok(match (sent, page_of.await) {
        (Ok(()), Ok(page)) => page,
        _ => page(StatusCode::GONE, FOREIGN),
    })
}

/// A page that says what to do next, and that nothing can be put into.
fn page(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>gatepass</title>\
         <h1>gatepass</h1><p>{text}</p></html>"
    );
    with_fields(status, html, "default-src 'none'")
}

/// Sends what stands behind the # of this page's address, and shows the page that comes back.
fn relay() -> Response<Full<Bytes>> {
    let nonce = format!("{:032x}", fastrand::u128(..));
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>gatepass</title>\
         <h1>gatepass</h1><p id=\"text\">This page needs a script to finish the login.</p>\
         <script nonce=\"{nonce}\">\
         const fields = location.hash.slice(1); history.replaceState(null, '', location.pathname);\
         fetch(location.pathname, {{ method: 'POST', body: fields }}).then(answer => answer.text())\
         .then(html => {{ const page = new DOMParser().parseFromString(html, 'text/html');\
         document.getElementById('text').textContent = page.querySelector('p').textContent; }});\
         </script></html>"
    );
    let policy = format!("default-src 'none'; connect-src 'self'; script-src 'nonce-{nonce}'");
    with_fields(StatusCode::OK, html, &policy)
}

fn with_fields(status: StatusCode, html: String, policy: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(html));
    *response.status_mut() = status;
    let fields = response.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        fields.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(policy) = HeaderValue::from_str(policy) {
        fields.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

const OVER: &str = "This window can be closed. Go back to the terminal: gatepass says there whether the \
                    login has worked.";
const REFUSED: &str = "The login has not worked. This window can be closed. Go back to the terminal: \
                       gatepass says there why.";
const FOREIGN: &str = "This does not belong to the login that gatepass waits for, and nothing was done. \
                       Begin again with gatepass login.";

/// For one head, and a half of a connection's life.
const PATIENCE: Duration = Duration::from_secs(10);

/// For the last page to arrive.
const FAREWELL: Duration = Duration::from_secs(1);

const MOST_CONNECTIONS: usize = 32;

/// Tokens with all their claims.
const LARGEST_BODY: usize = 256 * 1024;
