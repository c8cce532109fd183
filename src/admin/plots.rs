//! What the status page draws: the life of a token, its last refreshes, and what routes did in the last
//! minutes. Each says the same in words, for those who do not see it.

use std::fmt::Write;

use super::page::{Span, Text};
use super::status::{CredentialStatus, Refresh};
use super::trend::Trend;

/// A bar for a token's life: what is over, when the next attempt is due, and the end.
pub(super) fn life(page: &mut String, credential: &CredentialStatus) {
    let (Some(life), Some(left)) = (credential.lives_seconds, credential.ends_in_seconds) else {
        return;
    };
    let percent = |seconds: u64| (seconds.min(life) * 100).checked_div(life).unwrap_or(100);
    let over = life.saturating_sub(left);
    let _ = write!(
        page,
        "<svg class=\"life\" viewBox=\"0 0 100 10\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"\
         {} of {} are over",
        Span(over),
        Span(life)
    );
    let due = credential.next_attempt_in_seconds.map(|wait| over + wait);
    if let Some(due) = due.filter(|due| *due <= life) {
        let _ = write!(page, ", the next attempt is due after {}", Span(due));
    }
    let _ = write!(
        page,
        "\"><rect class=\"track\" width=\"100\" height=\"10\"/><rect class=\"over\" width=\"{}\" height=\"10\"/>",
        percent(over)
    );
    if let Some(due) = due.filter(|due| *due <= life) {
        let at = percent(due).min(99);
        let _ = write!(
            page,
            "<rect class=\"due\" x=\"{at}\" width=\"1\" height=\"10\"/>"
        );
    }
    page.push_str("</svg>\n");
}

/// The last refreshes, the last one first.
pub(super) fn refreshes(page: &mut String, refreshes: &[Refresh]) {
    if refreshes.is_empty() {
        return;
    }
    page.push_str("<ol class=\"strip\" aria-label=\"Last refreshes, the last one first\">\n");
    for refresh in refreshes.iter().take(SHOWN) {
        let (class, sign) = match refresh.outcome {
            "success" => ("good", "✓"),
            "held_back" => ("doubtful", "▲"),
            _ => ("bad", "✗"),
        };
        let millis = refresh.took_seconds * 1000.0;
        let _ = writeln!(
            page,
            "<li class=\"state {class}\">{sign} {} <span class=\"quiet\">{millis:.0} ms, {} ago</span></li>",
            Text(refresh.outcome),
            Span(refresh.seconds_ago)
        );
    }
    page.push_str("</ol>\n");
}

/// What a route did in the last minutes: requests a second, the part that failed, how long they took.
pub(super) fn trend(page: &mut String, trend: &Trend) {
    let last = |values: &[f64]| values.last().copied().unwrap_or_default();
    let rate = last(&trend.rate);
    line(
        page,
        &trend.rate,
        "rate",
        &format!("{rate:.1} requests a second"),
    );
    let failed = last(&trend.failed) * 100.0;
    line(
        page,
        &trend.failed,
        "failed",
        &format!("{failed:.0} % failed"),
    );
    let mean = last(&trend.mean_seconds) * 1000.0;
    line(
        page,
        &trend.mean_seconds,
        "mean",
        &format!("{mean:.1} ms on the average"),
    );
}

fn line(page: &mut String, values: &[f64], class: &str, words: &str) {
    let highest = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let _ = write!(
        page,
        "<div class=\"trend\"><svg class=\"{class}\" viewBox=\"0 0 60 12\" preserveAspectRatio=\"none\" \
         aria-hidden=\"true\"><polyline points=\""
    );
    for (at, value) in values.iter().enumerate() {
        let _ = write!(page, "{at},{:.1} ", 11.0 - value / highest * 10.0);
    }
    let _ = writeln!(page, "\"/></svg> {words}</div>");
}

/// As many as fit into a card.
const SHOWN: usize = 8;
