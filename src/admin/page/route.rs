//! A row for each route: what it takes and where it goes, how it did in the last minutes, and how it ended.

use std::fmt::{self, Display, Write};

use super::super::status::RouteStatus;
use super::super::trend::Trend;
use super::Text;
use crate::metric;

pub(super) fn rows(page: &mut String, routes: &[RouteStatus]) {
    page.push_str("<section id=\"routes\"><h2>Routes <small class=\"quiet\">in the last five minutes, and since the start</small></h2>\n<div class=\"rows\">\n");
    for route in routes {
        row(page, route);
    }
    page.push_str("</div></section>\n");
}

fn row(page: &mut String, status: &RouteStatus) {
    let route = &status.route;
    let _ = writeln!(
        page,
        "<article class=\"row\" aria-label=\"Route {0}\">\n<div><h3>{0}</h3>\
         <p>{1} → {2}</p><p class=\"quiet\">{3}</p></div>",
        Text(&route.name),
        Text(&route.matches),
        Text(&route.upstream),
        Credential(route.credential.as_deref()),
    );
    trend(page, &status.trend);
    let _ = write!(
        page,
        "<dl><div><dt>under way</dt><dd>{}</dd></div><div><dt>answered</dt><dd>{}</dd></div>",
        status.in_flight,
        Counts(&status.requests)
    );
    if !status.rejections.is_empty() {
        let _ = write!(
            page,
            "<div><dt>by gatepass</dt><dd>{}</dd></div>",
            Counts(&status.rejections)
        );
    }
    if let Some(seconds) = status.mean_seconds {
        let _ = write!(
            page,
            "<div><dt>on the average</dt><dd>{:.1} ms</dd></div>",
            seconds * 1000.0
        );
    }
    page.push_str("</dl>\n</article>\n");
}

/// Requests a second, the part that failed, and how long they took: each as a number and a plot.
fn trend(page: &mut String, trend: &Trend) {
    let last = |values: &[f64]| values.last().copied().unwrap_or_default();
    let (rate, failed) = (last(&trend.rate), last(&trend.failed) * 100.0);
    let mean = last(&trend.mean_seconds) * 1000.0;
    page.push_str("<ul class=\"trends\" aria-label=\"Last five minutes\">\n");
    for (values, class, words) in [
        (&trend.rate, "rate", format!("<b>{rate:.1}</b> req/s")),
        (
            &trend.failed,
            "failed",
            format!("<b>{failed:.0} %</b> failed"),
        ),
        (
            &trend.mean_seconds,
            "mean",
            format!("<b>{mean:.1} ms</b> each"),
        ),
    ] {
        let _ = write!(page, "<li><span>{words}</span>");
        plot(page, values, class);
        page.push_str("</li>\n");
    }
    page.push_str("</ul>\n");
}

/// As a line from left to right, its highest point at the top; nothing where there is nothing.
fn plot(page: &mut String, values: &[f64], class: &str) {
    let highest = values.iter().copied().fold(0.0, f64::max);
    if highest <= 0.0 {
        return;
    }
    let height = |value: &f64| (23.0 - value / highest * 22.0).round();
    let _ = write!(
        page,
        "<svg class=\"{class}\" viewBox=\"0 0 59 24\" preserveAspectRatio=\"none\" \
         aria-hidden=\"true\"><polyline points=\""
    );
    let skipped = 60_usize.saturating_sub(values.len());
    let mut before = None;
    for (at, value) in values.iter().enumerate() {
        let (y, next) = (height(value), values.get(at + 1).map(height));
        // What lies between two of the same height changes nothing.
        if before != Some(y) || next != Some(y) {
            let _ = write!(page, "{},{y} ", at + skipped);
        }
        before = Some(y);
    }
    page.push_str("\"/></svg>");
}

/// Whose token is added.
struct Credential<'a>(Option<&'a str>);

impl Display for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, "with a token of {}", Text(name)),
            None => f.write_str("without a token"),
        }
    }
}

/// `2xx 20, 5xx 1`
pub(super) struct Counts<'a>(pub(super) &'a metric::Counts);

impl Display for Counts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (of, count) in self.0 {
            write!(f, "{comma}{} {count}", Text(of))?;
            comma = ", ";
        }
        match comma {
            "" => f.write_str("none yet"),
            _ => Ok(()),
        }
    }
}
