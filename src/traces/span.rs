//! What a span says.

use std::fmt::Debug;

use tokio::time::Instant;

use super::context::TraceContext;

/// Something that was recorded and that spans can be made of, later and elsewhere.
pub trait Recorded: Debug + Send {
    /// Its spans.
    fn spans(self: Box<Self>) -> Vec<Span>;
}

/// A part of a trace.
#[derive(Debug, Clone)]
pub struct Span {
    /// Which one it is, in which trace.
    pub context: TraceContext,
    /// The one that it belongs to.
    pub parent: Option<u64>,
    /// The value of the field `tracestate`.
    pub state: String,
    /// What was done, in few different words.
    pub name: String,
    /// For whom.
    pub kind: Kind,
    /// When it began.
    pub started: Instant,
    /// When it was over.
    pub ended: Instant,
    /// What there is to say, by the names of the semantic conventions.
    pub attributes: Vec<(&'static str, Value)>,
    /// Whether it failed.
    pub failed: bool,
}

impl Span {
    /// Adds what is known.
    pub fn say(&mut self, name: &'static str, value: Option<impl Into<Value>>) {
        let value = value.map(|value| (name, value.into()));
        self.attributes.extend(value);
    }
}

/// For whom something was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// For gatepass itself.
    Internal,
    /// For a caller.
    Server,
    /// By somebody else, for gatepass.
    Client,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}
