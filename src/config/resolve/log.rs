//! What is logged.

use tracing::Level;

use super::super::decode::{Path, Report};
use super::super::raw;
use super::super::scalar::value_or;
use super::choice;
use crate::proxy::{AccessLog, Logged, LoggedTarget};
use crate::telemetry::{self, Format};

/// What is logged, and how.
pub(super) fn settings(raw: &raw::Log, report: &mut Report) -> Option<telemetry::Settings> {
    let path = Path::new(["log"]);
    let defaults = telemetry::Settings::default();
    let level = choice(raw.level.as_deref(), &LEVELS, &path.key("level"), report);
    let format = choice(raw.format.as_deref(), &FORMATS, &path.key("format"), report);
    Some(telemetry::Settings {
        level: level?.unwrap_or(defaults.level),
        format: format?.unwrap_or(defaults.format),
    })
}

/// `Some(None)` if there is to be none.
pub(super) fn access(raw: raw::AccessLog, report: &mut Report) -> Option<Option<AccessLog>> {
    let path = Path::new(["log", "access"]);
    let requests = choice(
        raw.requests.as_deref(),
        &LOGGED,
        &path.key("requests"),
        report,
    );
    let target = choice(
        raw.target.as_deref(),
        &LOGGED_TARGETS,
        &path.key("target"),
        report,
    );
    let target = target?.unwrap_or(LoggedTarget::Path);
    let requests = requests?.flatten();
    Some(requests.map(|requests| AccessLog {
        requests,
        target,
        caller: value_or(raw.caller, false),
    }))
}

pub(super) const LEVELS: [(&str, Level); 4] = [
    ("error", Level::ERROR),
    ("warn", Level::WARN),
    ("info", Level::INFO),
    ("debug", Level::DEBUG),
];

pub(super) const LOGGED: [(&str, Option<Logged>); 3] = [
    ("none", None),
    ("failed", Some(Logged::Failed)),
    ("all", Some(Logged::All)),
];

pub(super) const LOGGED_TARGETS: [(&str, LoggedTarget); 3] = [
    ("none", LoggedTarget::Nothing),
    ("path", LoggedTarget::Path),
    ("path_and_query", LoggedTarget::PathAndQuery),
];

pub(super) const FORMATS: [(&str, Format); 3] = [
    ("auto", Format::Auto),
    ("text", Format::Text),
    ("json", Format::Json),
];
