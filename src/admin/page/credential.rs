//! A card for each credential: what its token is, how long it lives, and how the last refreshes went.

use std::fmt::{Display, Write};

use super::super::claims::{Claims, Form};
use super::super::status::{CredentialStatus, Refresh, TokenHealth};
use super::{Left, Since, Span, Text};

pub(super) fn cards(page: &mut String, credentials: &[CredentialStatus], commands: bool) {
    page.push_str("<section id=\"credentials\"><h2>Credentials</h2>\n");
    if credentials.is_empty() {
        page.push_str("<p class=\"quiet\">No route needs one.</p>\n");
    }
    page.push_str("<div class=\"cards\">\n");
    // The page is to stay small.
    let refreshes = if credentials.len() > 8 { 2 } else { 6 };
    for credential in credentials {
        card(page, credential, refreshes, commands);
    }
    page.push_str("</div></section>\n");
}

fn card(page: &mut String, credential: &CredentialStatus, shown: usize, commands: bool) {
    let (class, word) = match credential.state {
        TokenHealth::Fresh => ("good", "✓ fresh"),
        TokenHealth::Ageing => ("doubtful", "▲ usable, the next one fails to come"),
        TokenHealth::Awaited => ("bad", "✗ none yet"),
        TokenHealth::Ended => ("bad", "✗ ended"),
    };
    let name = Text(&credential.name);
    let _ = write!(
        page,
        "<article class=\"card {class}\" aria-label=\"Credential {name}\">\n\
         <div class=\"head\"><div><h3>{name}</h3><p class=\"state {class}\">{word}</p></div>"
    );
    if commands {
        let _ = write!(
            page,
            "<form method=\"post\" action=\"/api/credentials/{name}/refresh\"><button>Refresh now\
             <span class=\"unseen\"> {name}</span></button></form>"
        );
    }
    page.push_str("</div>\n");
    life(page, credential);
    if let Some(error) = &credential.last_error {
        let _ = writeln!(page, "<p class=\"error\">{}</p>", Text(error));
    }
    facts(page, credential);
    refreshes(page, &credential.refreshes, shown);
    page.push_str("</article>\n");
}

/// A bar for a token's life: what is over, when the next attempt is due, and the end; the same in words
/// for those who do not see it.
fn life(page: &mut String, credential: &CredentialStatus) {
    let (Some(life), Some(left)) = (credential.lives_seconds, credential.ends_in_seconds) else {
        return;
    };
    let percent = |seconds: u64| (seconds.min(life) * 100).checked_div(life).unwrap_or(100);
    let over = life.saturating_sub(left);
    let due = credential.next_attempt_in_seconds.map(|wait| over + wait);
    let due = due.filter(|due| *due <= life);
    let _ = write!(
        page,
        "<svg class=\"life\" viewBox=\"0 0 100 10\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"{} of {} are over",
        Span(over),
        Span(life)
    );
    if let Some(due) = due {
        let _ = write!(page, ", the next attempt is due after {}", Span(due));
    }
    let _ = write!(
        page,
        "\"><rect class=\"track\" width=\"100\" height=\"10\"/>\
         <rect class=\"over\" width=\"{}\" height=\"10\"/>",
        percent(over)
    );
    if let Some(due) = due {
        let at = percent(due).min(99);
        let _ = write!(
            page,
            "<rect class=\"due\" x=\"{at}\" width=\"1\" height=\"10\"/>"
        );
    }
    page.push_str("</svg>\n");
}

fn facts(page: &mut String, credential: &CredentialStatus) {
    page.push_str("<dl>\n");
    if let Some(seconds) = credential.ends_in_seconds {
        fact(page, "ends in", Left(seconds));
    }
    if let Some(seconds) = credential.next_attempt_in_seconds {
        fact(page, "next attempt in", Left(seconds));
    }
    if let Some(token) = &credential.token {
        claims(page, token);
    }
    // It is that of the token at hand, and 0 without one, however many there have been.
    if credential.token.is_some() {
        fact(page, "tokens so far", credential.generation);
    }
    for (term, counts) in [
        ("attempts", &credential.attempts),
        ("tokens from", &credential.origins),
        ("trouble with the store", &credential.store_errors),
    ] {
        if !counts.is_empty() {
            fact(page, term, super::route::Counts(counts));
        }
    }
    if let Some(by) = &credential.sharing.refreshed_by {
        fact(page, "last refreshed by", Text(by));
    }
    if credential.sharing.holds_lease {
        fact(page, "whose turn", "this replica's");
    }
    if let Some(left) = credential.sharing.requests_left {
        fact(page, "token requests left this hour", left);
    }
    page.push_str("</dl>\n");
}

/// What the token says of itself, which nobody here has verified.
fn claims(page: &mut String, token: &Claims) {
    if token.form == Form::Opaque {
        return fact(page, "form", "opaque: only its provider can read it");
    }
    if let Some(issuer) = &token.issuer {
        fact(page, "issued by", Text(issuer));
    }
    for (term, words) in [("for", &token.audience), ("scopes", &token.scopes)] {
        if !words.is_empty() {
            fact(page, term, Text(&words.join(" ")));
        }
    }
    if let Some(subject) = &token.subject {
        fact(page, "about", Text(subject));
    }
}

fn fact(page: &mut String, term: &str, value: impl Display) {
    let _ = writeln!(page, "<div><dt>{term}</dt><dd>{value}</dd></div>");
}

/// The last refreshes, the last one first.
fn refreshes(page: &mut String, refreshes: &[Refresh], shown: usize) {
    if refreshes.is_empty() {
        return;
    }
    page.push_str("<ol class=\"strip\" aria-label=\"Last refreshes, the last one first\">\n");
    for refresh in refreshes.iter().take(shown) {
        let (class, sign) = match refresh.outcome {
            "success" => ("good", "✓"),
            "held_back" => ("doubtful", "▲"),
            _ => ("bad", "✗"),
        };
        let _ = writeln!(
            page,
            "<li class=\"{class}\"><b class=\"state {class}\">{sign} {}</b> {:.0} ms, {} ago</li>",
            Text(refresh.outcome),
            refresh.took_seconds * 1000.0,
            Since(refresh.seconds_ago)
        );
    }
    page.push_str("</ol>\n");
}
