//! `[[routes]]`

mod fields;
mod upstream;

use std::collections::BTreeMap;

use http::header::AUTHORIZATION;
use http::{HeaderName, Method};

use super::super::decode::{Path, Report};
use super::super::problem::near_miss;
use super::super::scalar::{OneOrMany, Size, value_or};
use super::super::{Listen, raw};
use super::{
    LEGAL_NAME, MOST_HEADERS, TrustedRoots, any_of, at_most, bytes_within, choice, is_legal_name,
    listener, required, revision,
};
use crate::proxy::{Forwarded, PathPrefix, Protocol, Settings, Timeouts, USUAL_HEADERS};
use crate::server::Address;
pub(super) use fields::{OWN_HEADERS, values as header_values};

/// The word of routes that add no token.
pub(super) const NO_CREDENTIAL: &str = "none";

/// Resolves the routes; none if any of them has a mistake.
pub(super) fn resolve(
    raw: Vec<raw::Route>,
    credentials: &BTreeMap<String, Option<HeaderName>>,
    roots: &mut TrustedRoots,
    report: &mut Report,
) -> Option<Vec<Settings>> {
    let all = Path::new(["routes"]);
    if raw.is_empty() && (!report.is_written(&all) || report.is_empty_list(&all)) {
        report.add(
            &all,
            "nothing",
            "at least one [[routes]] table with path, upstream, credential",
        );
    }
    let resolved: Vec<_> = raw
        .into_iter()
        .enumerate()
        .map(|(index, raw)| route(raw, &all.key(index), credentials, roots, report))
        .collect();
    find_twins(&resolved, &all, report);
    resolved.into_iter().collect()
}

fn route(
    raw: raw::Route,
    path: &Path,
    credentials: &BTreeMap<String, Option<HeaderName>>,
    roots: &mut TrustedRoots,
    report: &mut Report,
) -> Option<Settings> {
    let prefix = prefix(raw.path, &path.key("path"), report);
    let hosts = any_of(raw.host, &path.key("host"), report);
    let hosts = hosts.and_then(|hosts| listener::hosts(hosts, &path.key("host"), report));
    let methods = methods(raw.methods, &path.key("methods"), report);
    let name = match raw.name {
        Some(name) => checked_name(name, &path.key("name"), report),
        None => prefix
            .as_ref()
            .map(|prefix| derived_name(hosts.as_deref().unwrap_or_default(), prefix)),
    };
    let upstream_revision = revision::of_table(report, path, &raw.tls, NOT_OF_UPSTREAM);
    let origin = upstream::origin(raw.upstream, &raw.tls, path, roots, report);
    let credential = credential(raw.credential, credentials, &path.key("credential"), report);
    let token_header = match &credential {
        Some(Some(name)) => credentials.get(name).cloned().flatten(),
        _ => Some(AUTHORIZATION),
    };
    let request_headers = fields::values(
        raw.headers,
        token_header.as_ref(),
        &path.key("headers"),
        report,
    );
    let response_headers = fields::values(
        raw.response_headers,
        None,
        &path.key("response_headers"),
        report,
    );
    let remove_headers = fields::names(
        raw.remove_headers,
        token_header.as_ref(),
        &path.key("remove_headers"),
        report,
    );
    let remove_response_headers = fields::names(
        raw.remove_response_headers,
        None,
        &path.key("remove_response_headers"),
        report,
    );
    let protocol = choice(
        raw.protocol.as_deref(),
        &PROTOCOLS,
        &path.key("protocol"),
        report,
    );
    let forwarded = choice(
        raw.forwarded.as_deref(),
        &FORWARDED,
        &path.key("forwarded"),
        report,
    );
    let replay_limit = bytes_within(
        0..=MOST_REPLAYED,
        raw.replay_limit.unwrap_or(DEFAULT_REPLAY_LIMIT),
        "at most 16MiB",
        &path.key("replay_limit"),
        report,
    );
    let defaults = Timeouts::default();
    Some(Settings {
        name: name?.into(),
        hosts: hosts?,
        prefix: prefix?,
        methods: methods?,
        strip_path: value_or(raw.strip_path, false),
        origin: origin?,
        upstream_revision,
        credential: credential?,
        token_header: token_header?,
        headers: request_headers?,
        remove_headers: remove_headers?,
        response_headers: response_headers?,
        remove_response_headers: remove_response_headers?,
        keep_host: value_or(raw.keep_host, false),
        rewrite_location: value_or(raw.rewrite_location, true),
        max_response_headers: at_most(
            MOST_HEADERS,
            value_or(raw.max_response_headers, USUAL_HEADERS),
            &path.key("max_response_headers"),
            report,
        ),
        timeouts: Timeouts {
            first_token: raw.timeouts.first_token.map(Into::into),
            connect: value_or(raw.timeouts.connect, defaults.connect),
            response_head: value_or(raw.timeouts.response_head, defaults.response_head),
            idle: value_or(raw.timeouts.idle, defaults.idle),
            request: raw.timeouts.request.map(Into::into),
            keep_alive: value_or(raw.timeouts.keep_alive, defaults.keep_alive),
            connection_age: value_or(raw.timeouts.connection_age, defaults.connection_age),
        },
        protocol: protocol?.unwrap_or_default(),
        max_connections: value_or(raw.max_connections, DEFAULT_CONNECTIONS),
        max_idle_connections: value_or(raw.max_idle_connections, DEFAULT_IDLE_CONNECTIONS),
        max_body: raw.max_body.map(|Size(bytes)| bytes),
        retries: value_or(raw.retries, DEFAULT_RETRIES),
        forwarded: forwarded?.unwrap_or_default(),
        replay_limit: replay_limit?,
    })
}

fn methods(written: Option<OneOrMany>, path: &Path, report: &mut Report) -> Option<Vec<Method>> {
    let written = any_of(written, path, report)?;
    let (mut methods, mut are_good) = (Vec::new(), true);
    for text in written {
        // RFC 9110 §9.1: "The method token is case-sensitive".
        match Method::from_bytes(text.as_bytes()) {
            Ok(method) if text == text.to_ascii_uppercase() => methods.push(method),
            _ => {
                let expected = "methods in capitals, such as [\"GET\", \"POST\"]";
                report.add(path, format!("{text:?}"), expected);
                are_good = false;
            }
        }
    }
    are_good.then_some(methods)
}

fn prefix(written: Option<String>, path: &Path, report: &mut Report) -> Option<PathPrefix> {
    let written = required(written, path, PATH, report)?;
    match PathPrefix::new(&written) {
        Ok(prefix) => Some(prefix),
        Err(error) => {
            report.add(path, format!("{written:?}"), error.to_string());
            None
        }
    }
}

fn checked_name(name: String, path: &Path, report: &mut Report) -> Option<String> {
    if !is_legal_name(&name) {
        report.add(path, format!("{name:?}"), LEGAL_NAME);
        return None;
    }
    Some(name)
}

/// `/connect/v1` is called `connect-v1`, and `/` is called `root`; a host goes before the path.
fn derived_name(hosts: &[String], prefix: &PathPrefix) -> String {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '.';
    let host = hosts.first().map_or("", String::as_str);
    let place = format!("{host}{prefix}");
    let words = place.split(|c| !legal(c));
    let name = words
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("-");
    if name.is_empty() {
        "root".into()
    } else {
        name.to_ascii_lowercase()
    }
}

/// `Some(None)` for a route that adds no token.
fn credential(
    written: Option<String>,
    known: &BTreeMap<String, Option<HeaderName>>,
    path: &Path,
    report: &mut Report,
) -> Option<Option<String>> {
    let name = required(written, path, CREDENTIAL, report)?;
    if name == NO_CREDENTIAL {
        return Some(None);
    }
    if known.contains_key(&name) {
        return Some(Some(name));
    }
    if known.is_empty() {
        let found = format!("{name:?}, which no [credentials.{name}] defines");
        let expected = format!("a table [credentials.{name}] that says how its tokens are got");
        report.add(path, found, expected);
        return None;
    }
    let mut names: Vec<_> = known.keys().map(String::as_str).collect();
    if !names.contains(&NO_CREDENTIAL) {
        names.push(NO_CREDENTIAL);
    }
    // "none" is never what somebody probably meant: it sends requests without a token.
    let meant = near_miss(&name, known.keys().map(String::as_str));
    let meant = meant.map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
    report.add(
        path,
        format!("{name:?}, which no [credentials.{name}] defines"),
        format!("one of {}{meant}", names.join(", ")),
    );
    None
}

/// Two routes for the same requests, or two that metrics could not tell apart.
fn find_twins(routes: &[Option<Settings>], path: &Path, report: &mut Report) {
    let routes: Vec<_> = routes.iter().enumerate().collect();
    for (position, (index, route)) in routes.iter().enumerate() {
        let Some(route) = route else { continue };
        let path = path.key(index);
        let earlier = routes.iter().take(position);
        for (first, other) in earlier.filter_map(|(first, other)| Some((first, other.as_ref()?))) {
            if are_for_the_same(route, other) {
                report.add(
                    &path.key("path"),
                    format!(
                        "{:?}, which routes[{first}] matches already",
                        route.prefix.as_str()
                    ),
                    "a path, host or methods of its own for each route",
                );
                break;
            }
            if route.name == other.name {
                report.add(
                    &path.key("name"),
                    format!(
                        "the name {:?}, which routes[{first}] has already",
                        &*route.name
                    ),
                    "a name of its own for each route, because metrics are told apart by it",
                );
                break;
            }
        }
    }
}

/// Whether there is a request that both match, and neither more specifically.
fn are_for_the_same(one: &Settings, other: &Settings) -> bool {
    fn overlap<T: PartialEq>(one: &[T], other: &[T]) -> bool {
        (one.is_empty() && other.is_empty()) || one.iter().any(|item| other.contains(item))
    }
    one.prefix == other.prefix
        && overlap(&one.hosts, &other.hosts)
        && overlap(&one.methods, &other.methods)
}

/// A route to gatepass itself would turn one request into as many as there are descriptors.
pub(super) fn refuse_loops(routes: &[Settings], listen: &[Listen], report: &mut Report) {
    for (index, route) in routes.iter().enumerate() {
        let (host, port) = route.origin.host_and_port();
        let socket = route.origin.socket();
        let itself = listen.iter().any(|listen| match &listen.address {
            Address::Tcp(address) => {
                let same_host = host == "localhost" || host == address.ip().to_string();
                socket.is_none() && address.port() == port && port != 0 && same_host
            }
            Address::Unix(path) => socket == Some(path.as_path()),
            Address::Systemd(_) => false,
        });
        if itself {
            report.add(
                &Path::new(["routes"]).key(index).key("upstream"),
                format!("{}, which is where gatepass itself listens", route.origin),
                "the address of the service that requests are meant for",
            );
        }
    }
}

/// Routes that send a token over a network without TLS.
pub(super) fn tokens_in_the_clear(routes: &[Settings]) -> impl Iterator<Item = String> {
    let exposed = routes
        .iter()
        .filter(|route| route.credential.is_some() && route.origin.is_plain_beyond_loopback());
    exposed.map(|route| {
        format!(
            "the tokens of route \"{}\" travel in the clear to {}; use https:// if it can",
            route.name, route.origin
        )
    })
}

const PATH: &str = "the path prefix to match, such as \"/connect\"; \"/\" matches everything";
/// Keys of a route that do not decide how its upstream is connected to.
const NOT_OF_UPSTREAM: &[&str] = &[
    "name",
    "path",
    "host",
    "methods",
    "strip_path",
    "credential",
    "headers",
    "remove_headers",
    "response_headers",
    "remove_response_headers",
    "keep_host",
    "rewrite_location",
    "replay_limit",
    "retries",
    "forwarded",
    "max_body",
];

const CREDENTIAL: &str = "the name of one of the credentials, or \"none\" to add no token";

pub(super) const PROTOCOLS: [(&str, Protocol); 3] = [
    ("auto", Protocol::AsCalled),
    ("http1", Protocol::Http1),
    ("http2", Protocol::Http2),
];

pub(super) const FORWARDED: [(&str, Forwarded); 3] = [
    ("none", Forwarded::Nothing),
    ("forwarded", Forwarded::Standard),
    ("x-forwarded", Forwarded::XForwarded),
];

const DEFAULT_RETRIES: u32 = 1;
const DEFAULT_CONNECTIONS: usize = 10_000;
const DEFAULT_IDLE_CONNECTIONS: usize = 128;
const DEFAULT_REPLAY_LIMIT: Size = Size(64 * 1024);
const MOST_REPLAYED: usize = 16 * 1024 * 1024;
