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

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    #[test]
    fn what_others_have_said_is_text() {
        let evil = "<b>";
        let event = EventStatus {
            number: 1,
            time: "2026-01-01T00:00:00Z".into(),
            seconds_ago: 1,
            level: "warn".into(),
            message: evil.into(),
            times: 2,
            fields: Map::from_iter(["route", "error"].map(|name| (name.into(), json!(evil)))),
        };
        let mut page = String::new();
        row(&mut page, &event);
        assert!(!page.contains(evil), "{page}");
        assert_eq!(page.matches("&lt;b&gt;").count(), 3, "{page}");
    }
}
