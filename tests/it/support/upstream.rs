//! An upstream that remembers what it saw and judges every token on arrival.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::authorization_server::Introspection;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: Method,
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Seen {
    pub fn all(&self, name: &str) -> Vec<&str> {
        let values = self.headers.get_all(name).iter();
        values.map(|value| value.to_str().unwrap()).collect()
    }
}

#[derive(Default)]
struct State {
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    requests: AtomicUsize,
    bad_tokens: Mutex<Vec<String>>,
    introspection: Mutex<Option<Introspection>>,
    refusal: Mutex<Option<Refusal>>,
}

/// Which requests are answered with 401, and with which challenge.
#[derive(Debug, Clone, Copy)]
pub enum Refusal {
    /// Those whose token is not good.
    OfBadTokens(&'static str),
    /// Those whose token ends in these words.
    Of(&'static str),
    /// All of them: what is missing is no token.
    OfEverything,
}

/// The server. It answers 200 with the body that it got, and ends when it is dropped.
pub struct Upstream {
    address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl Upstream {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<State>::default();
        let task = tokio::spawn(serve(listener, Arc::clone(&state)));
        Self {
            address,
            state,
            task,
        }
    }

    /// Judges every token from now on.
    pub fn check_tokens(&self, introspection: Introspection) {
        *self.state.introspection.lock().unwrap() = Some(introspection);
    }

    /// Answers with 401 from now on.
    pub fn refuse(&self, refusal: Refusal) {
        *self.state.refusal.lock().unwrap() = Some(refusal);
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    /// The requests that came, oldest first.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    pub fn last(&self) -> Seen {
        self.seen().pop().expect("a request has come")
    }

    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }

    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// What was wrong with tokens that came.
    pub fn bad_tokens(&self) -> Vec<String> {
        self.state.bad_tokens.lock().unwrap().clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        state.connections.fetch_add(1, Ordering::Relaxed);
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, Arc::clone(&state)));
            let io = TokioIo::new(stream);
            // A connection that breaks off is what some tests are about.
            let _ = http1::Builder::new().serve_connection(io, service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<State>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let arrived = Instant::now();
    let (head, body) = request.into_parts();
    state.requests.fetch_add(1, Ordering::Relaxed);
    let mut bad_token = false;
    if let Some(introspection) = &*state.introspection.lock().unwrap()
        && let Err(fault) = judge(&head.headers, introspection, arrived)
    {
        state.bad_tokens.lock().unwrap().push(fault);
        bad_token = true;
    }
    let authorization = head.headers.get("authorization").cloned();
    let body = body
        .collect()
        .await
        .map_or_else(|_| Bytes::new(), http_body_util::Collected::to_bytes);
    let mut seen = state.seen.lock().unwrap();
    // Load tests count, and look at the last one at most.
    if seen.len() >= 1_000 {
        seen.pop();
    }
    seen.push(Seen {
        method: head.method,
        target: head.uri.to_string(),
        headers: head.headers,
        body: body.clone(),
    });
    let challenge = match *state.refusal.lock().unwrap() {
        Some(Refusal::OfBadTokens(challenge)) if bad_token => challenge,
        Some(Refusal::OfEverything) => "Bearer",
        Some(Refusal::Of(words)) if ends_in(authorization.as_ref(), words) => "Bearer",
        _ => return Ok(Response::new(Full::new(body))),
    };
    let refusal = Response::builder()
        .status(401)
        .header("www-authenticate", challenge);
    Ok(refusal.body(Full::from("refused")).unwrap())
}

fn ends_in(authorization: Option<&HeaderValue>, words: &str) -> bool {
    authorization.is_some_and(|value| value.as_bytes().ends_with(words.as_bytes()))
}

fn judge(
    headers: &HeaderMap,
    introspection: &Introspection,
    arrived: Instant,
) -> Result<(), String> {
    let fields: Vec<_> = headers.get_all("authorization").iter().collect();
    let [field] = fields.as_slice() else {
        return Err(format!("{} Authorization fields", fields.len()));
    };
    let token = field
        .to_str()
        .ok()
        .and_then(|field| field.strip_prefix("Bearer "));
    let token = token.ok_or("no Bearer token")?;
    match introspection.expiry(token) {
        None => Err(format!("{token} was never handed out")),
        Some(end) if end <= arrived => Err(format!("{token} ended {:?} before", arrived - end)),
        Some(_) => Ok(()),
    }
}
