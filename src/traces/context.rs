//! W3C Trace Context: by which fields a request belongs to a trace.

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

/// A request as a part of a trace, by the field `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: u128,
    /// Whoever sends the request.
    pub span_id: u64,
    /// What was decided about it.
    pub flags: u8,
}

impl TraceContext {
    /// Reads the value of the field; nothing if it is not valid, in which case the specification has
    /// a new trace begin.
    pub fn parse(field: &str) -> Option<Self> {
        let mut parts = field.split('-');
        let version = parts.next()?;
        let context = Self {
            trace_id: hex(parts.next()?, 32)?,
            span_id: u64::try_from(hex(parts.next()?, 16)?).ok()?,
            flags: u8::try_from(hex(parts.next()?, 2)?).ok()?,
        };
        // "Vendors MUST treat the traceparent as invalid" with version ff, and with what follows in
        // version 00. Later versions may have more.
        let is_whole = version != "00" || parts.next().is_none();
        let is_version = hex(version, 2)? != 0xff;
        let is_valid = is_whole && is_version && context.trace_id != 0 && context.span_id != 0;
        is_valid.then_some(context)
    }

    fn of(headers: &HeaderMap) -> Option<Self> {
        let mut fields = headers.get_all(&TRACEPARENT).iter();
        match (fields.next(), fields.next()) {
            (Some(field), None) => Self::parse(field.to_str().ok()?),
            _ => None,
        }
    }

    fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The value of the field.
    pub fn to_field(self) -> HeaderValue {
        let Self {
            trace_id,
            span_id,
            flags,
        } = self;
        let field = format!("00-{trace_id:032x}-{span_id:016x}-{flags:02x}");
        HeaderValue::try_from(field).unwrap_or(HeaderValue::from_static(""))
    }
}

/// A request that is recorded: its own span in its trace.
#[derive(Debug, Clone)]
pub struct Trace {
    /// The trace, and the request's own span.
    pub context: TraceContext,
    /// The span that it belongs to, if it is not the first.
    pub parent: Option<u64>,
    /// What systems on the way have to say; it goes on as it came.
    pub state: Option<HeaderValue>,
}

impl Trace {
    /// See [`Tracer::begin`](super::Tracer::begin).
    pub(super) fn begin(headers: &mut HeaderMap, decide: impl FnOnce() -> bool) -> Option<Self> {
        let Some(parent) = TraceContext::of(headers) else {
            return Self::first(headers, decide());
        };
        // One who records nothing has nothing to add.
        parent.is_sampled().then(|| Self {
            context: TraceContext {
                span_id: new_span_id(),
                ..parent
            },
            parent: Some(parent.span_id),
            state: headers.get(&TRACESTATE).cloned(),
        })
    }

    /// Of a trace that begins here.
    fn first(headers: &mut HeaderMap, is_sampled: bool) -> Option<Self> {
        let context = TraceContext {
            trace_id: fastrand::u128(1..),
            span_id: new_span_id(),
            flags: if is_sampled { SAMPLED } else { 0 },
        };
        // It says more about a trace that is not known.
        headers.remove(&TRACESTATE);
        headers.insert(TRACEPARENT, context.to_field());
        is_sampled.then_some(Self {
            context,
            parent: None,
            state: None,
        })
    }

    /// Has a request that is sent on belong to a span of its own below this one; says which.
    pub fn send_on(&self, headers: &mut HeaderMap) -> u64 {
        let context = TraceContext {
            span_id: new_span_id(),
            ..self.context
        };
        headers.insert(TRACEPARENT, context.to_field());
        context.span_id
    }
}

/// Not 0, which stands for none.
pub(super) fn new_span_id() -> u64 {
    fastrand::u64(1..)
}

/// A number of as many hexadecimal digits, with small letters alone.
fn hex(digits: &str, count: usize) -> Option<u128> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let fits = digits.len() == count && digits.bytes().all(is_digit);
    fits.then(|| u128::from_str_radix(digits, 16).ok())?
}

pub(super) const SAMPLED: u8 = 1;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_field_is_read_as_the_specification_has_it() {
        let parent = TraceContext::parse(PARENT).unwrap();
        assert_eq!(parent.to_field(), PARENT);
        for valid in [
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-will-come",
        ] {
            assert!(TraceContext::parse(valid).is_some(), "{valid}");
        }
        for invalid in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
        ] {
            assert_eq!(TraceContext::parse(invalid), None, "{invalid}");
        }
    }

    #[test]
    fn a_trace_goes_on() {
        let mut fields = headers(&[("traceparent", PARENT), ("tracestate", "a=b")]);
        let trace = Trace::begin(&mut fields, || panic!("it is decided")).unwrap();
        let parent = TraceContext::parse(PARENT).unwrap();
        assert_eq!(trace.context.trace_id, parent.trace_id);
        assert_eq!(trace.parent, Some(parent.span_id));
        let next = trace.send_on(&mut fields);
        let sent = TraceContext::of(&fields).unwrap();
        assert_eq!((sent.trace_id, sent.span_id), (parent.trace_id, next));
        assert!(sent.is_sampled());
        assert_eq!(fields["tracestate"], "a=b");
    }

    #[test]
    fn one_that_nobody_records_is_left_alone() {
        let unsampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        let mut fields = headers(&[("traceparent", unsampled), ("tracestate", "a=b")]);
        assert!(Trace::begin(&mut fields, || true).is_none());
        assert_eq!(fields["traceparent"], unsampled);
    }

    #[test]
    fn without_one_a_trace_begins_and_says_so() {
        for fields in [
            vec![],
            vec![("traceparent", "nonsense"), ("tracestate", "a=b")],
            vec![("traceparent", PARENT), ("traceparent", PARENT)],
        ] {
            let mut fields = headers(&fields);
            let trace = Trace::begin(&mut fields, || true).unwrap();
            assert_eq!(trace.parent, None);
            assert_eq!(TraceContext::of(&fields), Some(trace.context));
            assert!(!fields.contains_key("tracestate"));
            // Those after it are told that it is not recorded as well.
            assert!(Trace::begin(&mut headers(&[]), || false).is_none());
        }
        let mut fields = headers(&[]);
        Trace::begin(&mut fields, || false);
        assert!(!TraceContext::of(&fields).unwrap().is_sampled());
    }
}
