//! Lengths of time on the command line, as the configuration has them.

use std::time::Duration;

/// Reads one, such as `30s`.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| match text.parse::<u64>() {
        Ok(_) => format!("it needs a unit, such as {text}s for seconds"),
        Err(_) => "a length of time is written 30s or 1m 30s".to_owned(),
    })
}
