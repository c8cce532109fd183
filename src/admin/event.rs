//! What has happened, as it is told to people and programs.

use std::time::UNIX_EPOCH;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::telemetry::Event;
use crate::token::clock::unix_now;

/// One event.
#[derive(Debug, Serialize)]
pub(super) struct EventStatus {
    pub(super) number: u64,
    /// RFC 3339, as in the log.
    pub(super) time: String,
    pub(super) seconds_ago: u64,
    pub(super) level: String,
    pub(super) message: String,
    /// How often in a row.
    pub(super) times: u64,
    pub(super) fields: Map<String, Value>,
}

impl EventStatus {
    pub(super) fn of(event: &Event) -> Self {
        let since_1970 = event.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            number: event.number,
            time: humantime::format_rfc3339_seconds(event.at).to_string(),
            seconds_ago: unix_now().saturating_sub(since_1970).as_secs(),
            level: event.level.to_string().to_lowercase(),
            message: event.message.clone(),
            times: event.times,
            fields: event.fields.clone(),
        }
    }

    /// What it is about, if it says so.
    pub(super) fn subject(&self) -> Option<(&str, &str)> {
        let named = |name| Some((name, self.fields.get(name)?.as_str()?));
        named("credential").or_else(|| named("route"))
    }

    /// What else is known of it, as name and value.
    pub(super) fn details(&self) -> impl Iterator<Item = (String, String)> {
        let subject = self.subject().map(|(name, _)| name);
        let others = self.fields.iter();
        let others = others.filter(move |(name, _)| Some(name.as_str()) != subject);
        others.map(|(name, value)| detail(name, value))
    }
}

/// `usable_seconds = 3599` is `usable: 59 min 59 s`.
fn detail(name: &str, value: &Value) -> (String, String) {
    let words = |name: &str| name.replace('_', " ");
    match (name.strip_suffix("_seconds"), value.as_u64(), value) {
        (Some(name), Some(seconds), _) => (words(name), super::page::Span(seconds).to_string()),
        (_, _, Value::String(text)) => (words(name), text.clone()),
        (_, _, other) => (words(name), other.to_string()),
    }
}
