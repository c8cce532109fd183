//! What is sent to a collector, and how often.

use std::rc::Rc;

use http::HeaderMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::tls::{Trust, client_config};
use crate::token::metrics::TokenMetrics;
use crate::token::{RefusalSettings, cell};
use crate::traces::{QUEUE, Tracer, channel};

/// A request with one span.
#[derive(Debug)]
struct One;

impl Recorded for One {
    fn spans(self: Box<Self>) -> Vec<Span> {
        vec![attempt_span("a", &attempt())]
    }
}

fn attempt() -> Attempt {
    Attempt {
        began: Instant::now(),
        took: Duration::ZERO,
        outcome: "success",
    }
}

fn exporter(port: u16) -> (Tracer, Exporter) {
    let metrics = TraceMetrics::register(&Registry::new()).unwrap();
    let settings = Settings {
        endpoint: format!("http://127.0.0.1:{port}/v1/traces")
            .parse()
            .unwrap(),
        tls: client_config(&Trust::Nobody, None).unwrap(),
        headers: HeaderMap::new(),
        share: 1.0,
        service: "gatepass".into(),
    };
    channel(settings, &metrics).unwrap()
}

/// One that says the same each time, and counts how often it is asked.
struct Collector {
    port: u16,
    asked: Rc<Cell<usize>>,
    _task: AbortOnDropHandle<()>,
}

impl Collector {
    async fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Rc::<Cell<usize>>::default();
        let counted = Rc::clone(&asked);
        let answer = format!(
            "HTTP/1.1 {status} So\r\nLocation: /elsewhere\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let task = tokio::task::spawn_local(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                counted.set(counted.get() + 1);
                let mut request = Vec::new();
                while !is_whole(&request) {
                    assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
                }
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self {
            port,
            asked,
            _task: AbortOnDropHandle::new(task),
        }
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some(end) = text.find("\r\n\r\n") else {
        return false;
    };
    let (_, length) = text.split_once("content-length: ").unwrap();
    let length: usize = length.split_once('\r').unwrap().0.parse().unwrap();
    let head = request.windows(4).position(|part| part == b"\r\n\r\n");
    head.unwrap_or(end) + 4 + length <= request.len()
}

const SOON: Duration = Duration::from_millis(1);

/// The specification of OTLP names 429, 502, 503 and 504, and "all other 4xx or 5xx response
/// status codes MUST NOT be retried."
#[tokio::test(flavor = "local")]
async fn what_may_pass_is_tried_again_and_what_is_not_taken_is_counted() {
    for (status, times) in [
        (200, 1),
        (307, 1),
        (400, 1),
        (429, 3),
        (500, 1),
        (502, 3),
        (503, 3),
        (504, 3),
    ] {
        let collector = Collector::start(status).await;
        let (tracer, exporter) = exporter(collector.port);
        for _ in 0..5 {
            tracer.record(Box::new(One));
        }
        exporter
            .send_all(&Credentials::default(), &[SOON, SOON])
            .await;
        assert_eq!(collector.asked.get(), times, "{status}");
        let (sent, lost) = if status == 200 { (5, 0) } else { (0, 5) };
        assert_eq!(exporter.metrics.sent.get(), sent, "{status}");
        assert_eq!(exporter.not_taken.get(), lost, "{status}");
        assert_eq!(exporter.is_failing.get(), lost > 0, "{status}");
    }
}

#[tokio::test(flavor = "local")]
async fn many_are_sent_in_parts() {
    let collector = Collector::start(200).await;
    let (tracer, exporter) = exporter(collector.port);
    for _ in 0..=BATCH * 2 {
        tracer.record(Box::new(One));
    }
    exporter.send_all(&Credentials::default(), &[]).await;
    assert_eq!(collector.asked.get(), 3);
    assert_eq!(exporter.metrics.sent.get(), BATCH as u64 * 2 + 1);
}

#[tokio::test(start_paused = true)]
async fn many_are_sent_before_their_time() {
    let (tracer, exporter) = exporter(9);
    for _ in 0..QUEUE / 2 {
        tracer.record(Box::new(One));
    }
    let began = Instant::now();
    let told = timeout(PERIOD, exporter.half_full.notified()).await;
    told.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn each_attempt_to_get_a_token_is_told_once() {
    let metrics = TokenMetrics::register(&Registry::new()).unwrap();
    let (writer, reader) = cell::channel("a", RefusalSettings::default(), metrics.refusals("a"));
    let credentials = Credentials::default();
    credentials.replace(vec![reader]);
    let (_tracer, exporter) = exporter(9);
    for _ in 0..3 {
        writer.attempted(attempt());
        tokio::time::advance(SOON).await;
        assert_eq!(exporter.attempts(&credentials).len(), 1);
        assert_eq!(exporter.attempts(&credentials).len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_is_silent_is_waited_for_so_long_and_at_the_end_for_less() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (tracer, exporter) = exporter(silent.local_addr().unwrap().port());
    let credentials = Credentials::default();
    tracer.record(Box::new(One));
    let began = Instant::now();
    exporter.send_all(&credentials, &[]).await;
    assert!(began.elapsed() <= PATIENCE, "{:?}", began.elapsed());
    assert_eq!(exporter.not_taken.get(), 1);

    tracer.record(Box::new(One));
    let began = Instant::now();
    exporter.finish(&credentials).await;
    assert!(
        began.elapsed() <= PATIENCE_AT_THE_END,
        "{:?}",
        began.elapsed()
    );
}
