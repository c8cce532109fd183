//! What operators order, and who may.

use std::net::IpAddr;

use http::header::{HOST, HeaderValue, LOCATION, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Request, StatusCode};
use tokio::sync::Notify;
use tracing::info;

use super::{Admin, Answer, text};
use crate::server::{CallerBody, Peer};
use crate::token::TokenReader;
use crate::wording::harmless;

/// An order.
pub(super) enum Command<'a> {
    /// `/api/credentials/NAME/refresh`
    Refresh(&'a str),
    /// `/quit`, with what is told then, if it may be ordered here.
    Stop(Option<&'a Notify>),
}

impl<'a> Command<'a> {
    /// The one that a path stands for.
    pub(super) fn of(path: &'a str, admin: &'a Admin) -> Option<Self> {
        if path == "/quit" {
            return Some(Self::Stop(admin.quit.as_deref()));
        }
        let name = path.strip_prefix("/api/credentials/")?;
        name.strip_suffix("/refresh").map(Self::Refresh)
    }

    pub(super) fn obey(self, headers: &HeaderMap, admin: &Admin) -> Answer {
        match self {
            Self::Refresh(credential) => refresh(credential, headers, admin),
            Self::Stop(quit) => stop(quit, headers, admin),
        }
    }
}

fn refresh(credential: &str, headers: &HeaderMap, admin: &Admin) -> Answer {
    if let Some(forbidden) = forbidden(headers, admin, "SIGUSR1") {
        return forbidden;
    }
    let Some(reader) = admin.credentials.named(credential) else {
        return text(StatusCode::NOT_FOUND, unknown(credential, admin));
    };
    reader.refresh_now();
    info!(credential, "an operator asks for a new token");
    if headers.contains_key(ORIGIN) {
        return back_to_the_page();
    }
    text(
        StatusCode::ACCEPTED,
        "a new token is being fetched; /metrics and the log tell how it went\n",
    )
}

fn unknown(credential: &str, admin: &Admin) -> String {
    let known = admin.credentials.all();
    let known: Vec<_> = known.iter().map(TokenReader::credential).collect();
    let known = match known.as_slice() {
        [] => "routes need none at all".to_owned(),
        names => format!("routes need {}", names.join(", ")),
    };
    let credential = harmless(credential);
    format!("no route needs a credential \"{credential}\"; {known}\n")
}

/// For a Job whose application is done: its pod ends when all of its containers have.
fn stop(quit: Option<&Notify>, headers: &HeaderMap, admin: &Admin) -> Answer {
    if let Some(forbidden) = forbidden(headers, admin, "SIGTERM") {
        return forbidden;
    }
    let Some(quit) = quit else {
        return text(
            StatusCode::FORBIDDEN,
            "admin.quit is not set, so nobody stops gatepass from here; set it to true, or send \
             SIGTERM to the process\n",
        );
    };
    quit.notify_one();
    text(StatusCode::ACCEPTED, "stopping\n")
}

/// Why a command is not obeyed, if it is not.
fn forbidden(headers: &HeaderMap, admin: &Admin, instead: &str) -> Option<Answer> {
    if !admin.commands {
        return Some(text(
            StatusCode::FORBIDDEN,
            format!(
                "commands are taken on loopback only, and this listener can be reached from \
                 elsewhere; send {instead} to the process instead\n"
            ),
        ));
    }
    // A page in somebody's browser reaches loopback, too. Browsers say so by one of these fields;
    // the tools that this is meant for send neither.
    let by_page = headers.contains_key(ORIGIN) || headers.contains_key(SEC_FETCH_SITE);
    (by_page && !is_own_page(headers)).then(|| {
        text(
            StatusCode::FORBIDDEN,
            "web pages other than the one here cannot give commands\n",
        )
    })
}

/// Whether a request is for this machine by a name that nobody else can give it. A page of the web
/// that reaches loopback by a name of its own (DNS rebinding) has that name for its host; and a Unix
/// socket can be reached by no page.
pub(super) fn is_for_here(request: &Request<CallerBody>) -> bool {
    if matches!(request.body().caller().peer, Peer::Unix { .. }) {
        return true;
    }
    let mut fields = request.headers().get_all(HOST).iter();
    // What is no text names nobody.
    let field = fields.next().map(|host| host.to_str().unwrap_or_default());
    // RFC 9112 §3.2: more than one Host is an error, and each reader may have taken another for it.
    if fields.next().is_some() {
        return false;
    }
    // HTTP/1.0 may do without any, and no browser does.
    let authority = request.uri().authority().map(Authority::as_str);
    field.into_iter().chain(authority).all(is_name_of_here)
}

/// Browsers take more for a host than a parser of authorities does (`a{b.example`), so that what
/// cannot be parsed may be the name of anybody.
fn is_name_of_here(host: &str) -> bool {
    host.parse::<Authority>().is_ok_and(|host| {
        let name = host.host().trim_matches(['[', ']']);
        name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
    })
}

/// Whether the status page itself asks, which stands at the place that it asks.
fn is_own_page(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let same_origin = text(ORIGIN.as_str()).and_then(|origin| origin.strip_prefix("http://"));
    let same_site = text(SEC_FETCH_SITE).is_none_or(|site| site == "same-origin");
    same_origin.is_some() && same_origin == text(HOST.as_str()) && same_site
}

/// After a command of its own.
fn back_to_the_page() -> Answer {
    let mut answer = text(StatusCode::SEE_OTHER, "");
    answer
        .headers_mut()
        .insert(LOCATION, HeaderValue::from_static("/"));
    answer
}

/// Fetch Metadata: how the page that asks stands to what it asks for.
const SEC_FETCH_SITE: &str = "sec-fetch-site";
