//! An authorization server that answers as it is told, byte for byte, and keeps a log.

use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{CANARY, within};

/// What the server does with a token request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// A new token that lives for so many seconds.
    Token(f64),
    /// A new token that lives for so many seconds, in an answer of these words: `TOKEN` stands for
    /// the token, `REFRESH` for a new refresh token.
    Words(f64, String),
    /// A status and a JSON body.
    Json(u16, String),
    /// These bytes, and then the end of the connection.
    Bytes(Vec<u8>),
    /// These bytes, and then a reset of the connection.
    Reset(Vec<u8>),
    /// These bytes, one after the other.
    Drip(Vec<u8>),
    /// Nothing, for ever.
    Silence,
    /// The end of the connection.
    HangUp,
}

/// A token request as it arrived.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    /// When it began to arrive.
    pub at: Instant,
    pub head: String,
    pub body: String,
}

impl TokenRequest {
    /// A parameter of a form.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let pairs = form_urlencoded::parse(self.body.as_bytes());
        let mut found = pairs.filter(|(found, _)| found == name);
        found.next().map(|(_, value)| value.into_owned())
    }

    pub fn header(&self, name: &str) -> Option<String> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found
                .eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        })
    }
}

#[derive(Debug, Default)]
struct State {
    requests: Vec<TokenRequest>,
    next: VecDeque<Reply>,
    otherwise: Option<Reply>,
    delay: Duration,
    /// What stands at which path, for those who only look.
    documents: HashMap<String, String>,
    /// What time it says that it is, to those who only look.
    date: Option<String>,
    /// When each token that was handed out ends.
    tokens: HashMap<String, Instant>,
}

impl State {
    fn hand_out(&mut self, seconds: f64, words: &str) -> String {
        let number = self.tokens.len() + 1;
        let token = format!("{CANARY}-token-{number}");
        let ends = Instant::now() + Duration::from_secs_f64(seconds);
        self.tokens.insert(token.clone(), ends);
        let refresh_token = format!("{CANARY}-refresh-{number}");
        words
            .replace("TOKEN", &token)
            .replace("REFRESH", &refresh_token)
    }
}

/// The server. It ends when it is dropped.
pub struct AuthorizationServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    /// Before [`Self::come_up`]: keeps the port, and refuses connections.
    reserved: Option<TcpSocket>,
    task: Option<JoinHandle<()>>,
}

impl AuthorizationServer {
    /// A server that is up.
    pub fn start() -> Self {
        let mut server = Self::down();
        server.come_up();
        server
    }

    /// A server whose port is known and refuses connections.
    pub fn down() -> Self {
        Self::down_at(Ipv4Addr::LOCALHOST)
    }

    /// The same, at this address.
    pub fn down_at(address: Ipv4Addr) -> Self {
        let socket = reserve((address, 0).into());
        Self {
            address: socket.local_addr().unwrap(),
            state: Arc::default(),
            reserved: Some(socket),
            task: None,
        }
    }

    /// Refuses connections from now on, until [`Self::come_up`].
    pub async fn go_down(&mut self) {
        let task = self.task.take().unwrap();
        task.abort();
        let _ = task.await;
        self.reserved = Some(reserve(self.address));
    }

    pub fn come_up(&mut self) {
        let listener = self.reserved.take().unwrap().listen(1024).unwrap();
        self.task = Some(tokio::spawn(serve(listener, Arc::clone(&self.state))));
    }

    /// Shows a JSON document to whoever gets this path.
    pub fn publish(&self, path: &str, document: impl ToString) {
        let mut state = self.state.lock().unwrap();
        state.documents.insert(path.into(), document.to_string());
    }

    /// Says from now on that it is this time.
    pub fn say_date(&self, date: SystemTime) {
        self.state.lock().unwrap().date = Some(httpdate::fmt_http_date(date));
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn token_endpoint(&self) -> String {
        format!("http://{}/oauth2/token", self.address)
    }

    /// What to do when nothing else is planned; a token of an hour if this is never called.
    pub fn otherwise(&self, reply: Reply) {
        self.state.lock().unwrap().otherwise = Some(reply);
    }

    /// What to do next, once each.
    pub fn plan(&self, replies: impl IntoIterator<Item = Reply>) {
        self.state.lock().unwrap().next.extend(replies);
    }

    /// How long to think before each answer.
    pub fn think_for(&self, delay: Duration) {
        self.state.lock().unwrap().delay = delay;
    }

    pub fn requests(&self) -> Vec<TokenRequest> {
        self.state.lock().unwrap().requests.clone()
    }

    pub fn count(&self) -> usize {
        self.state.lock().unwrap().requests.len()
    }

    /// Waits until so many token requests have come.
    pub async fn wait_for_requests(&self, count: usize) {
        let what = format!("{count} token requests have come");
        within(Duration::from_secs(30), &what, async || {
            self.count() >= count
        })
        .await;
    }

    /// A view of the tokens for those who check them.
    pub fn introspection(&self) -> Introspection {
        Introspection(Arc::clone(&self.state))
    }
}

/// Keeps a port, and refuses connections. Connections of a listener that had it before do not
/// matter.
fn reserve(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

impl Drop for AuthorizationServer {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// What is known about tokens.
#[derive(Clone)]
pub struct Introspection(Arc<Mutex<State>>);

impl Introspection {
    /// Ends every token that was handed out so far.
    pub fn revoke_all(&self) {
        for end in self.0.lock().unwrap().tokens.values_mut() {
            *end = Instant::now();
        }
    }

    /// When a token ends; nothing if it was never handed out.
    pub fn expiry(&self, token: &str) -> Option<Instant> {
        self.0.lock().unwrap().tokens.get(token).copied()
    }
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            // A client that hangs up is no concern of the server's.
            let _ = answer(stream, state).await;
        });
    }
}

async fn answer(mut stream: TcpStream, state: Arc<Mutex<State>>) -> std::io::Result<()> {
    let Some(request) = read_request(&mut stream).await? else {
        return Ok(());
    };
    let looked_at = ["GET ", "HEAD "]
        .iter()
        .find_map(|method| request.head.strip_prefix(method));
    if let Some(path) = looked_at {
        let path = path.split(' ').next().unwrap();
        let (document, date) = {
            let state = state.lock().unwrap();
            (state.documents.get(path).cloned(), state.date.clone())
        };
        let mut answer = document.map_or_else(|| json(404, ""), |document| json(200, &document));
        if let Some(date) = date {
            let status = answer.iter().position(|byte| *byte == b'\n').unwrap();
            answer.splice(status + 1..status + 1, format!("Date: {date}\r\n").bytes());
        }
        stream.write_all(&answer).await?;
        return stream.shutdown().await;
    }
    let (reply, delay) = {
        let mut state = state.lock().unwrap();
        state.requests.push(request);
        let reply = state.next.pop_front();
        let reply = reply.or_else(|| state.otherwise.clone());
        (reply.unwrap_or(Reply::Token(3600.0)), state.delay)
    };
    tokio::time::sleep(delay).await;
    let bytes = match reply {
        Reply::Token(seconds) => {
            let words = format!(
                r#"{{"access_token":"TOKEN","token_type":"Bearer","expires_in":{seconds}}}"#
            );
            json(200, &state.lock().unwrap().hand_out(seconds, &words))
        }
        Reply::Words(seconds, words) => json(200, &state.lock().unwrap().hand_out(seconds, &words)),
        Reply::Json(status, body) => json(status, &body),
        Reply::Bytes(bytes) => bytes,
        Reply::Reset(bytes) => {
            stream.write_all(&bytes).await?;
            return reset(stream);
        }
        Reply::Drip(bytes) => {
            for byte in bytes {
                stream.write_all(&[byte]).await?;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            return stream.shutdown().await;
        }
        Reply::Silence => std::future::pending().await,
        Reply::HangUp => return Ok(()),
    };
    stream.write_all(&bytes).await?;
    stream.shutdown().await
}

/// Ends a connection as a crash does.
pub fn reset(stream: TcpStream) -> std::io::Result<()> {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))
}

fn json(status: u16, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

async fn read_request(stream: &mut TcpStream) -> std::io::Result<Option<TokenRequest>> {
    let at = Instant::now();
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let request = TokenRequest {
                at,
                head: head.to_owned(),
                body: body.to_owned(),
            };
            let length = request.header("content-length");
            let length = length.map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return Ok(Some(request));
            }
        }
    }
}
