//! What has happened lately.

use std::fmt::Write;

use super::super::event::EventStatus;
use super::{Since, Text};

/// The last one first.
pub(super) fn list(page: &mut String, events: &[EventStatus]) {
    page.push_str("<section id=\"events\"><h2>Recent events</h2>\n<ol class=\"events\">\n");
    for event in events.iter().take(SHOWN) {
        row(page, event);
    }
    page.push_str("</ol></section>\n");
}

fn row(page: &mut String, event: &EventStatus) {
    let (class, sign) = match event.level.as_str() {
        "error" => ("bad", "✗ error"),
        "warn" => ("doubtful", "▲ warning"),
        _ => ("quiet", "• info"),
    };
    let _ = write!(
        page,
        "<li><time datetime=\"{0}\" title=\"{0}\">{1} ago</time><span class=\"state {class}\">{sign}</span><p>",
        event.time,
        Since(event.seconds_ago)
    );
    if let Some((kind, name)) = event.subject() {
        let _ = write!(page, "{kind} <strong>{}</strong>: ", Text(name));
    }
    let _ = write!(page, "{}", Text(&event.message));
    if event.times > 1 {
        let _ = write!(page, " <strong>({} times)</strong>", event.times);
    }
    let details = event.details();
    let details: Vec<_> = details
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    if !details.is_empty() {
        let _ = write!(
            page,
            " <span class=\"quiet\">{}</span>",
            Text(&details.join(", "))
        );
    }
    page.push_str("</p></li>\n");
}

/// More of them are in `/api/status`.
const SHOWN: usize = 20;
