//! An upstream that takes nothing but what RFC 9112 allows a client to send.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::strict::parse;
use super::{AuthorizationServer, Gatepass, Upstream, simple_config};

/// Remembers the targets that it was asked for, and what was wrong.
pub struct StrictUpstream {
    origin: String,
    seen: Log,
}

type Log = Arc<Mutex<Vec<Result<String, String>>>>;

impl StrictUpstream {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let seen = Log::default();
        let log = Arc::clone(&seen);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(converse(stream, Arc::clone(&log)));
            }
        });
        Self { origin, seen }
    }

    /// With gatepass before it.
    pub async fn behind_gatepass() -> (Gatepass, Self) {
        let (provider, other) = (AuthorizationServer::start(), Upstream::start().await);
        let strict = Self::start().await;
        let config = simple_config(&provider, &other).replace(&other.origin(), &strict.origin);
        (Gatepass::start(&config).ready().await, strict)
    }

    /// What came since it was last asked.
    pub fn take(&self) -> Vec<Result<String, String>> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

async fn converse(mut stream: TcpStream, log: Log) {
    let mut bytes = Vec::new();
    loop {
        match parse(&bytes) {
            Ok(Some(request)) => {
                bytes.drain(..request.length);
                let answer: &[u8] = match request.method.as_str() {
                    "HEAD" => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
                    _ => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
                };
                log.lock().unwrap().push(Ok(request.target));
                if stream.write_all(answer).await.is_err() {
                    return;
                }
            }
            Ok(None) => match stream.read_buf(&mut bytes).await {
                // What was begun and broken off is no request.
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            },
            Err(fault) => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                log.lock().unwrap().push(Err(format!("{fault}: {text:?}")));
                return;
            }
        }
    }
}
