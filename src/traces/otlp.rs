//! Spans in the form of OTLP: messages of opentelemetry/proto/collector/trace/v1, written as
//! Protocol Buffers. The few messages that are needed are written here; their fields are frozen.

use std::time::Duration;

use tokio::time::Instant;

use super::span::{Kind, Span, Value};

/// `ExportTraceServiceRequest`. `now` is one moment by both clocks.
pub(super) fn request(spans: &[Span], service: &str, now: (Instant, Duration)) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let mut request = Message::default();
    // ResourceSpans
    request.message(1, |of| {
        // Resource
        of.message(1, |of| {
            attribute(of, 1, "service.name", &service.into());
            attribute(of, 1, "service.version", &version.into());
        });
        // ScopeSpans
        of.message(2, |of| {
            // InstrumentationScope
            of.message(1, |of| {
                of.text(1, "gatepass");
                of.text(2, version);
            });
            for one in spans {
                of.message(2, |of| span(of, one, now));
            }
        });
    });
    request.0
}

/// `Span`
fn span(of: &mut Message, span: &Span, now: (Instant, Duration)) {
    of.bytes(1, &span.context.trace_id.to_be_bytes());
    of.bytes(2, &span.context.span_id.to_be_bytes());
    of.text(3, &span.state);
    if let Some(parent) = span.parent {
        of.bytes(4, &parent.to_be_bytes());
    }
    of.text(5, &span.name);
    of.number(
        6,
        match span.kind {
            Kind::Internal => 1,
            Kind::Server => 2,
            Kind::Client => 3,
        },
    );
    of.fixed64(7, unix_nanos(span.started, now));
    of.fixed64(8, unix_nanos(span.ended, now));
    for (name, value) in &span.attributes {
        attribute(of, 9, name, value);
    }
    if span.failed {
        // Status, STATUS_CODE_ERROR
        of.message(15, |of| of.number(3, 2));
    }
    of.fixed32(16, span.context.flags.into());
}

/// `KeyValue`
fn attribute(of: &mut Message, field: u32, name: &str, value: &Value) {
    of.message(field, |of| {
        of.text(1, name);
        // AnyValue
        of.message(2, |of| match value {
            Value::Text(text) => of.text(1, text),
            Value::Number(number) => of.number(3, number.cast_unsigned()),
        });
    });
}

fn unix_nanos(at: Instant, (now, unix_now): (Instant, Duration)) -> u64 {
    let ago = now.saturating_duration_since(at);
    let nanos = unix_now.saturating_sub(ago).as_nanos();
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

/// A message of Protocol Buffers (<https://protobuf.dev/programming-guides/encoding/>).
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    fn number(&mut self, field: u32, value: u64) {
        self.tag(field, 0);
        self.varint(value);
    }

    fn fixed64(&mut self, field: u32, value: u64) {
        self.tag(field, 1);
        self.0.extend(value.to_le_bytes());
    }

    fn fixed32(&mut self, field: u32, value: u32) {
        self.tag(field, 5);
        self.0.extend(value.to_le_bytes());
    }

    fn text(&mut self, field: u32, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.tag(field, 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        write(&mut inner);
        self.bytes(field, &inner.0);
    }

    fn tag(&mut self, field: u32, kind: u32) {
        self.varint(u64::from(field << 3 | kind));
    }

    /// Seven bits in a byte, the lowest first; the eighth says that more follow.
    fn varint(&mut self, mut value: u64) {
        loop {
            let [lowest, ..] = value.to_le_bytes();
            value >>= 7;
            if value == 0 {
                return self.0.push(lowest);
            }
            self.0.push(lowest | 0x80);
        }
    }
}
