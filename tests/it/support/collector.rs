//! A collector of traces: takes OTLP over HTTP and remembers the spans.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A span as it arrived.
#[derive(Debug, Clone, Default)]
pub struct SeenSpan {
    pub trace_id: String,
    pub span_id: String,
    pub parent: String,
    pub state: String,
    pub name: String,
    pub kind: u64,
    pub started: u64,
    pub ended: u64,
    pub attributes: BTreeMap<String, Value>,
    pub status: u64,
    pub service: Value,
}

/// The server; it ends when it is dropped.
pub struct Collector {
    endpoint: String,
    spans: Arc<Mutex<Vec<SeenSpan>>>,
    task: JoinHandle<()>,
}

impl Collector {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let spans = Arc::<Mutex<Vec<SeenSpan>>>::default();
        let task = tokio::spawn(serve(listener, Arc::clone(&spans)));
        Self {
            endpoint,
            spans,
            task,
        }
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Those that have arrived so far.
    pub fn spans(&self) -> Vec<SeenSpan> {
        self.spans.lock().unwrap().clone()
    }

    /// Those of this kind: 1 internal, 2 of a server, 3 of a client.
    pub fn of_kind(&self, kind: u64) -> Vec<SeenSpan> {
        let spans = self.spans().into_iter();
        spans.filter(|span| span.kind == kind).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, spans: Arc<Mutex<Vec<SeenSpan>>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let spans = Arc::clone(&spans);
        tokio::spawn(async move {
            let service = service_fn(|request| take(request, Arc::clone(&spans)));
            let io = TokioIo::new(stream);
            let _ = http1::Builder::new().serve_connection(io, service).await;
        });
    }
}

async fn take(
    request: Request<Incoming>,
    spans: Arc<Mutex<Vec<SeenSpan>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    assert_eq!(head.uri.path(), "/v1/traces");
    assert_eq!(head.headers["content-type"], "application/x-protobuf");
    let body = body.collect().await.unwrap().to_bytes();
    for resource in nested(&body, 1) {
        let about = attributes(&nested(&resource, 1).concat(), 1);
        for scope in nested(&resource, 2) {
            let read = |bytes: Vec<u8>| SeenSpan {
                service: about["service.name"].clone(),
                ..span(&bytes)
            };
            let read = nested(&scope, 2).into_iter().map(read);
            spans.lock().unwrap().extend(read);
        }
    }
    Ok(Response::new(Full::default()))
}

fn span(bytes: &[u8]) -> SeenSpan {
    let text = |field| String::from_utf8(nested(bytes, field).concat()).unwrap();
    let hex = |field| -> String {
        let bytes = nested(bytes, field).concat();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    SeenSpan {
        trace_id: hex(1),
        span_id: hex(2),
        parent: hex(4),
        state: text(3),
        name: text(5),
        kind: number(bytes, 6),
        started: number(bytes, 7),
        ended: number(bytes, 8),
        attributes: attributes(bytes, 9),
        status: number(&nested(bytes, 15).concat(), 3),
        service: Value::Null,
    }
}

fn attributes(bytes: &[u8], field: u64) -> BTreeMap<String, Value> {
    let read = |pair: Vec<u8>| {
        let name = String::from_utf8(nested(&pair, 1).concat()).unwrap();
        let value = nested(&pair, 2).concat();
        let value = match nested(&value, 1).pop() {
            Some(text) => json!(String::from_utf8(text).unwrap()),
            None => json!(number(&value, 3)),
        };
        (name, value)
    };
    nested(bytes, field).into_iter().map(read).collect()
}

/// The texts and messages of a field.
fn nested(bytes: &[u8], field: u64) -> Vec<Vec<u8>> {
    let of = fields(bytes).into_iter();
    of.filter(|(number, kind, ..)| (*number, *kind) == (field, 2))
        .map(|(.., bytes)| bytes)
        .collect()
}

/// The number of a field; 0 if it is not there, as Protocol Buffers have it.
fn number(bytes: &[u8], field: u64) -> u64 {
    let found = fields(bytes)
        .into_iter()
        .find(|(number, ..)| *number == field);
    found.map_or(0, |(.., number, _)| number)
}

/// Number, kind, and value or content of each field.
fn fields(mut bytes: &[u8]) -> Vec<(u64, u64, u64, Vec<u8>)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let (value, content) = match tag & 7 {
            0 => (varint(&mut bytes), &[][..]),
            1 => (little_endian(&mut bytes, 8), &[][..]),
            2 => {
                let length = usize::try_from(varint(&mut bytes)).unwrap();
                let content;
                (content, bytes) = bytes.split_at(length);
                (0, content)
            }
            5 => (little_endian(&mut bytes, 4), &[][..]),
            kind => panic!("a field of the kind {kind}"),
        };
        fields.push((tag >> 3, tag & 7, value, content.to_vec()));
    }
    fields
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return value;
        }
    }
}

fn little_endian(bytes: &mut &[u8], count: usize) -> u64 {
    let (number, rest) = bytes.split_at(count);
    *bytes = rest;
    number
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}
