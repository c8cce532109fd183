//! The page at `/`: one look for people. All of it is in one answer, it works without scripts, and
//! asks nothing of any other host.

use std::fmt::{self, Display, Write};
use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::claims::{Claims, Form};
use super::event::EventStatus;
use super::plots;
use super::status::{CredentialStatus, RouteStatus, State, Status, TokenHealth};

/// Nothing but what stands in the page itself, by digest; nobody may frame it.
pub(super) static POLICY: LazyLock<String> = LazyLock::new(|| {
    let of = |text: &str| BASE64_STANDARD.encode(digest(&SHA256, text.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        of(STYLE),
        of(SCRIPT)
    )
});

/// The page. `commands` says whether tokens can be refreshed from it.
pub(super) fn page(status: &Status, commands: bool) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>gatepass: {}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n",
        word(status.state)
    );
    let _ = writeln!(
        page,
        "<header><h1>gatepass</h1><p class=\"state {}\">{}</p>\
         <p class=\"quiet\">version {}, up for {}</p></header>",
        class(status.state),
        word(status.state),
        status.version,
        Span(status.uptime_seconds)
    );
    if !status.findings.is_empty() {
        page.push_str("<section aria-label=\"Findings\"><ul class=\"findings\">\n");
        for finding in &status.findings {
            let _ = writeln!(
                page,
                "<li><strong>{}</strong> {}</li>",
                Text(&finding.subject),
                Text(&finding.reason)
            );
        }
        page.push_str("</ul></section>\n");
    }
    page.push_str("<section><h2>Credentials</h2>\n");
    if status.credentials.is_empty() {
        page.push_str("<p class=\"quiet\">No route needs one.</p>\n");
    }
    page.push_str("<div class=\"cards\">\n");
    for credential in &status.credentials {
        card(&mut page, credential, commands);
    }
    page.push_str(
        "</div></section>\n<section><h2>Routes</h2>\n<div class=\"wide\" role=\"region\" aria-label=\"Routes\" tabindex=\"0\"><table>\n<thead><tr>",
    );
    for column in [
        "route",
        "from",
        "to",
        "credential",
        "under way",
        "answered",
        "by gatepass",
        "mean",
        "last five minutes",
    ] {
        let _ = write!(page, "<th scope=\"col\">{column}</th>");
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for route in &status.routes {
        row(&mut page, route);
    }
    page.push_str("</tbody></table></div></section>\n");
    events(&mut page, &status.events);
    page.push_str(
        "<footer class=\"quiet\"><p>Also here: <a href=\"/metrics\">/metrics</a>, \
         <a href=\"/readyz\">/readyz</a>, <a href=\"/startupz\">/startupz</a>, \
         <a href=\"/livez\">/livez</a>, <a href=\"/api/status\">/api/status</a></p></footer>\n",
    );
    let _ = write!(
        page,
        "</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    );
    page
}

fn card(page: &mut String, credential: &CredentialStatus, commands: bool) {
    let (class, word) = match credential.state {
        TokenHealth::Fresh => ("good", "✓ fresh"),
        TokenHealth::Ageing => ("doubtful", "▲ usable, the next one fails to come"),
        TokenHealth::Awaited => ("bad", "✗ none yet"),
        TokenHealth::Ended => ("bad", "✗ ended"),
    };
    let name = Text(&credential.name);
    let _ = write!(
        page,
        "<article class=\"card {class}\" aria-label=\"Credential {name}\">\n<h3>{name}</h3>\n<p class=\"state {class}\">{word}</p>\n"
    );
    plots::life(page, credential);
    if let Some(error) = &credential.last_error {
        let _ = writeln!(page, "<p class=\"error\">{}</p>", Text(error));
    }
    page.push_str("<dl>\n");
    if let Some(seconds) = credential.ends_in_seconds {
        entry(page, "ends in", Span(seconds));
    }
    if let Some(seconds) = credential.next_attempt_in_seconds {
        entry(page, "next attempt in", Span(seconds));
    }
    if let Some(token) = &credential.token {
        claims(page, token);
    }
    entry(page, "tokens so far", credential.generation);
    for (outcome, count) in &credential.attempts {
        entry(page, Text(outcome), count);
    }
    for (origin, count) in &credential.origins {
        entry(page, format_args!("from the {}", Text(origin)), count);
    }
    if let Some(by) = &credential.sharing.refreshed_by {
        entry(page, "last refreshed by", Text(by));
    }
    if credential.holds_lease {
        entry(page, "whose turn", "this replica's");
    }
    if let Some(left) = credential.requests_left {
        entry(page, "token requests left this hour", left);
    }
    for (reason, count) in &credential.store_errors {
        entry(page, format_args!("store {}", Text(reason)), count);
    }
    page.push_str("</dl>\n");
    plots::refreshes(page, &credential.refreshes);
    if commands {
        let _ = writeln!(
            page,
            "<form method=\"post\" action=\"/api/credentials/{name}/refresh\"><button>Refresh now</button></form>"
        );
    }
    page.push_str("</article>\n");
}

fn claims(page: &mut String, token: &Claims) {
    if token.form == Form::Opaque {
        return entry(page, "form", "opaque: only its provider can read it");
    }
    if let Some(issuer) = &token.issuer {
        entry(page, "issued by", Text(issuer));
    }
    for (term, words) in [("for", &token.audience), ("scopes", &token.scopes)] {
        if !words.is_empty() {
            entry(page, term, Text(&words.join(" ")));
        }
    }
    if let Some(subject) = &token.subject {
        entry(page, "about", Text(subject));
    }
}

fn row(page: &mut String, status: &RouteStatus) {
    let route = &status.route;
    let _ = write!(
        page,
        "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>",
        Text(&route.name),
        Text(&route.matches),
        Text(&route.upstream),
        route.credential.as_deref().map_or(Text("none"), Text),
        status.in_flight
    );
    counts(page, status.requests.iter());
    page.push_str("</td><td>");
    counts(page, status.rejections.iter());
    match status.mean_seconds {
        Some(seconds) => {
            let _ = write!(page, "</td><td>{:.1} ms</td><td>", seconds * 1000.0);
        }
        None => page.push_str("</td><td>–</td><td>"),
    }
    plots::trend(page, &status.trend);
    page.push_str("</td></tr>\n");
}

/// The last one first.
fn events(page: &mut String, events: &[EventStatus]) {
    if events.is_empty() {
        return;
    }
    page.push_str("<section><h2>Recent events</h2>\n<ol class=\"events\">\n");
    for event in events {
        let (class, sign) = match event.level.as_str() {
            "error" => ("bad", "✗ error"),
            "warn" => ("doubtful", "▲ warning"),
            _ => ("quiet", "·"),
        };
        let _ = write!(
            page,
            "<li><time datetime=\"{}\">{} ago</time> <span class=\"state {class}\">{sign}</span> ",
            event.time,
            Span(event.seconds_ago)
        );
        if let Some((kind, name)) = event.subject() {
            let _ = write!(page, "{kind} <strong>{}</strong>: ", Text(name));
        }
        page.push_str(&Text(&event.message).to_string());
        if event.times > 1 {
            let _ = write!(page, " <strong>({} times in a row)</strong>", event.times);
        }
        for (name, value) in event.details() {
            let _ = write!(
                page,
                " <span class=\"quiet\">{name} {}</span>",
                Text(&value)
            );
        }
        page.push_str("</li>\n");
    }
    page.push_str("</ol></section>\n");
}

fn counts<'a>(page: &mut String, counts: impl Iterator<Item = (&'a String, &'a u64)>) {
    let mut is_first = true;
    for (of, count) in counts {
        let comma = if is_first { "" } else { ", " };
        let _ = write!(page, "{comma}{} {count}", Text(of));
        is_first = false;
    }
    if is_first {
        page.push('–');
    }
}

fn entry(page: &mut String, term: impl Display, value: impl Display) {
    let term = term.to_string();
    let _ = writeln!(page, "<div><dt>{term}</dt><dd>{value}</dd></div>");
}

fn word(state: State) -> &'static str {
    match state {
        State::Starting => "… starting",
        State::Ready => "✓ ready",
        State::NotReady => "✗ not ready",
    }
}

fn class(state: State) -> &'static str {
    match state {
        State::Starting => "doubtful",
        State::Ready => "good",
        State::NotReady => "bad",
    }
}

/// Text of others in HTML.
pub(super) struct Text<'a>(pub(super) &'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// A length of time in its two largest units.
pub(super) struct Span(pub(super) u64);

impl Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, hours) = (self.0 / 86_400, self.0 / 3600 % 24);
        let (minutes, seconds) = (self.0 / 60 % 60, self.0 % 60);
        match (days, hours, minutes) {
            (0, 0, 0) => write!(f, "{seconds} s"),
            (0, 0, _) => write!(f, "{minutes} min {seconds} s"),
            (0, _, _) => write!(f, "{hours} h {minutes} min"),
            _ => write!(f, "{days} d {hours} h"),
        }
    }
}

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_write_is_text() {
        let text = Text("<b a=\"x\" b='y'>&</b>").to_string();
        assert_eq!(
            text,
            "&lt;b a=&quot;x&quot; b=&#39;y&#39;&gt;&amp;&lt;/b&gt;"
        );
    }

    #[test]
    fn lengths_of_time_are_short() {
        for (seconds, shown) in [
            (0, "0 s"),
            (59, "59 s"),
            (61, "1 min 1 s"),
            (3_600, "1 h 0 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(Span(seconds).to_string(), shown);
        }
    }
}
