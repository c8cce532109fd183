//! Clients: one that speaks HTTP properly, and one that sends any bytes.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// No single step of any test may take longer than this.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// An answer, read to its end.
pub type Answer = Response<String>;

/// A connection for any number of requests.
pub async fn connect<B>(address: SocketAddr) -> SendRequest<B>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    connect_over(stream).await
}

/// The same over whatever is connected already.
pub async fn connect_over<B, T>(stream: T) -> SendRequest<B>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// Sends one request on a connection of its own.
pub async fn request(address: SocketAddr, request: Request<Full<Bytes>>) -> Answer {
    let mut sender = connect(address).await;
    let exchange = async {
        let response = sender.send_request(request).await.expect("an answer");
        read(response).await
    };
    timeout(PATIENCE, exchange)
        .await
        .expect("an answer in time")
}

pub async fn read<B: Body<Data = Bytes, Error: std::fmt::Debug>>(response: Response<B>) -> Answer {
    let (head, body) = response.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    Response::from_parts(head, String::from_utf8(body.to_vec()).unwrap())
}

/// The problem document of an answer that gatepass has made itself, without what is another each
/// time: the request's identifier, which the answer's head has as well.
pub fn problem(answer: &Answer) -> Value {
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let mut problem: Value = serde_json::from_str(answer.body()).unwrap();
    let id = problem.as_object_mut().unwrap().remove("request_id");
    assert_eq!(
        id.unwrap(),
        answer.headers()["x-request-id"].to_str().unwrap()
    );
    problem
}

/// GET of a path.
pub async fn get(address: SocketAddr, path: &str) -> Answer {
    request(address, get_request(path)).await
}

pub fn get_request(path: &str) -> Request<Full<Bytes>> {
    let request = Request::get(path).header("host", "localhost");
    request.body(Full::default()).unwrap()
}

/// Sends bytes and reads until the other side closes, or until `enough` is satisfied.
pub async fn raw(
    address: SocketAddr,
    bytes: impl AsRef<[u8]>,
    enough: impl Fn(&str) -> bool,
) -> String {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes.as_ref()).await.unwrap();
        let mut answer = Vec::new();
        loop {
            // A reset after the answer is an end like any other.
            let read = stream.read_buf(&mut answer).await.unwrap_or(0);
            let text = String::from_utf8_lossy(&answer).into_owned();
            if read == 0 || enough(&text) {
                return text;
            }
        }
    };
    timeout(PATIENCE, exchange)
        .await
        .expect("an answer in time")
}
