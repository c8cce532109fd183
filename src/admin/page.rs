//! The page at `/`: one look for people. All of it is in one answer, it works without scripts, and
//! asks nothing of any other host.
//!
//! Each part of it has a name, by which the script puts a newer one in its place.

mod configuration;
mod credential;
mod events;
mod route;

use std::fmt::{self, Display, Write};
use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::status::{State, Status};

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

/// The page. `commands` says whether tokens can be refreshed from it; the configuration is on it if it may
/// be.
pub(super) fn page(status: &Status, configuration: Option<&str>, commands: bool) -> String {
    let (class, word) = looks(status.state);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>gatepass: {word}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <header><h1>gatepass</h1><p id=\"state\" class=\"state {class}\" role=\"status\">{word}</p>\
         <p id=\"about\" class=\"quiet\">version {}, up for {}</p></header>\n<main>\n",
        status.version,
        Since(status.uptime_seconds),
    );
    findings(&mut page, status);
    credential::cards(&mut page, &status.credentials, commands);
    route::rows(&mut page, &status.routes);
    events::list(&mut page, &status.events);
    if let Some(configuration) = configuration {
        configuration::whole(&mut page, configuration);
    }
    let _ = write!(
        page,
        "</main>\n<footer class=\"quiet\"><p>Also here: <a href=\"/metrics\">/metrics</a>, \
         <a href=\"/readyz\">/readyz</a>, <a href=\"/startupz\">/startupz</a>, \
         <a href=\"/livez\">/livez</a>, <a href=\"/api/status\">/api/status</a>, \
         <a href=\"/api/events\">/api/events</a></p></footer>\n\
         <script>{SCRIPT}</script>\n</body>\n</html>\n"
    );
    page
}

fn findings(page: &mut String, status: &Status) {
    // There also when it is empty, for what comes into it later.
    let hidden = if status.findings.is_empty() {
        " hidden"
    } else {
        ""
    };
    let _ = writeln!(
        page,
        "<section id=\"findings\" aria-label=\"Findings\"{hidden}><ul>"
    );
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

/// A class and a word: the colour is not the only sign.
fn looks(state: State) -> (&'static str, &'static str) {
    match state {
        State::Starting => ("doubtful", "… starting"),
        State::Ready => ("good", "✓ ready"),
        State::NotReady => ("bad", "✗ not ready"),
    }
}

/// Text of others in HTML.
struct Text<'a>(&'a str);

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

/// What is left at this moment; the script counts on.
struct Left(u64);

/// What has passed at this moment; the script counts on.
struct Since(u64);

impl Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<span data-left=\"{}\">{}</span>", self.0, Span(self.0))
    }
}

impl Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<span data-since=\"{}\">{}</span>", self.0, Span(self.0))
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
