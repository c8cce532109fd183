//! `[[routes]]`

use std::collections::BTreeMap;
use std::net::SocketAddr;

use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue, Method};
use secrecy::ExposeSecret;
use url::Url;

use super::super::decode::{Path, Report};
use super::super::raw;
use super::super::scalar::{OneOrMany, SecretSource, Size, value_or};
use super::{LEGAL_NAME, TrustedRoots, is_legal_name, listener, one_of, required, secret};
use crate::proxy::{Origin, PathPrefix, Settings, Timeouts};

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
    let hosts = raw.host.map_or_else(Vec::new, |hosts| hosts.0);
    let hosts = listener::hosts(hosts, &path.key("host"), report);
    let methods = methods(raw.methods, &path.key("methods"), report);
    let name = match raw.name {
        Some(name) => checked_name(name, &path.key("name"), report),
        None => prefix
            .as_ref()
            .map(|prefix| derived_name(hosts.as_deref().unwrap_or_default(), prefix)),
    };
    let origin = origin(raw.upstream, &raw.tls, path, roots, report);
    let credential = credential(raw.credential, credentials, &path.key("credential"), report);
    let token_header = match &credential {
        Some(Some(name)) => credentials.get(name).cloned().flatten(),
        _ => Some(AUTHORIZATION),
    };
    let request_headers = headers(
        raw.headers,
        token_header.as_ref(),
        &path.key("headers"),
        report,
    );
    let response_headers = headers(
        raw.response_headers,
        None,
        &path.key("response_headers"),
        report,
    );
    let remove_headers = names(
        raw.remove_headers,
        token_header.as_ref(),
        &path.key("remove_headers"),
        report,
    );
    let remove_response_headers = names(
        raw.remove_response_headers,
        None,
        &path.key("remove_response_headers"),
        report,
    );
    let replay_limit = replay_limit(raw.replay_limit, &path.key("replay_limit"), report);
    let defaults = Timeouts::default();
    Some(Settings {
        name: name?.into(),
        hosts: hosts?,
        prefix: prefix?,
        methods: methods?,
        strip_path: value_or(raw.strip_path, false),
        origin: origin?,
        credential: credential?,
        token_header: token_header?,
        headers: request_headers?,
        remove_headers: remove_headers?,
        response_headers: response_headers?,
        remove_response_headers: remove_response_headers?,
        keep_host: value_or(raw.keep_host, false),
        rewrite_location: value_or(raw.rewrite_location, true),
        timeouts: Timeouts {
            connect: value_or(raw.timeouts.connect, defaults.connect),
            response_head: value_or(raw.timeouts.response_head, defaults.response_head),
            idle: value_or(raw.timeouts.idle, defaults.idle),
            keep_alive: value_or(raw.timeouts.keep_alive, defaults.keep_alive),
        },
        max_idle_connections: value_or(raw.max_idle_connections, DEFAULT_IDLE_CONNECTIONS),
        replay_limit: replay_limit?,
    })
}

fn replay_limit(written: Option<Size>, path: &Path, report: &mut Report) -> Option<usize> {
    let Size(limit) = written.unwrap_or(DEFAULT_REPLAY_LIMIT);
    let fitting = usize::try_from(limit)
        .ok()
        .filter(|limit| *limit <= MOST_REPLAYED);
    if fitting.is_none() {
        report.add(path, format!("{limit} bytes"), "at most 16MiB");
    }
    fitting
}

fn methods(written: Option<OneOrMany>, path: &Path, report: &mut Report) -> Option<Vec<Method>> {
    let written = written.map_or_else(Vec::new, |methods| methods.0);
    let mut methods = Vec::new();
    for text in written {
        // RFC 9110 §9.1: "The method token is case-sensitive".
        match Method::from_bytes(text.as_bytes()) {
            Ok(method) if text == text.to_ascii_uppercase() => methods.push(method),
            _ => {
                let expected = "methods in capitals, such as [\"GET\", \"POST\"]";
                report.add(path, format!("{text:?}"), expected);
                return None;
            }
        }
    }
    Some(methods)
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

fn origin(
    written: Option<String>,
    tls: &raw::Tls,
    route: &Path,
    roots: &mut TrustedRoots,
    report: &mut Report,
) -> Option<Origin> {
    let path = route.key("upstream");
    let url = required(written, &path, UPSTREAM, report)
        .and_then(|written| upstream_url(&written, &path, report));
    let scheme = url.as_ref().map_or("", Url::scheme);
    let tls = roots.config(scheme, tls, route, report);
    let url = url?;
    match Origin::new(&url, &tls?) {
        Ok(origin) => Some(origin),
        Err(error) => {
            let port = url.port().map(|port| format!(":{port}"));
            let shown = format!(
                "{}://{}{}{}, without what is not shown of it",
                url.scheme(),
                url.host_str().unwrap_or_default(),
                port.unwrap_or_default(),
                url.path()
            );
            report.add(&path, shown, error.to_string());
            None
        }
    }
}

fn upstream_url(written: &str, path: &Path, report: &mut Report) -> Option<Url> {
    let has_scheme = written.starts_with("http://") || written.starts_with("https://");
    let url = Url::parse(written).ok();
    match url {
        Some(url) if has_scheme || url.has_host() => return Some(url),
        // Shown only where nothing secret can stand in it.
        _ if !has_scheme && !written.contains(['@', '?']) => report.add(
            path,
            format!("{written:?}, which does not begin with http:// or https://"),
            UPSTREAM,
        ),
        _ => report.add(path, "something that is no address", UPSTREAM),
    }
    None
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
    report.add(
        path,
        format!("{name:?}, which no [credentials.{name}] defines"),
        one_of(&name, &names),
    );
    None
}

/// Read once: their values are part of every request's head, ready to be copied.
fn headers(
    written: BTreeMap<String, SecretSource>,
    token_header: Option<&HeaderName>,
    path: &Path,
    report: &mut Report,
) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let mut reserved = OWN_HEADERS.to_vec();
    reserved.extend(token_header.map(HeaderName::as_str));
    let resolved = secret::headers(written, &reserved, path, report);
    let mut values = Vec::new();
    for header in &resolved {
        let Some((name, secret)) = header else {
            continue;
        };
        let value = secret.read_blocking().ok();
        let value = value.and_then(|value| HeaderValue::from_str(value.expose_secret()).ok());
        match value {
            Some(mut value) => {
                value.set_sensitive(true);
                values.push((name.clone(), value));
            }
            None => report.add(
                &path.key(name),
                "a value that cannot stand in a header (not shown)",
                "a value without line breaks and control characters",
            ),
        }
    }
    (values.len() == resolved.len()).then_some(values)
}

/// Names of fields that are taken off.
fn names(
    written: Option<OneOrMany>,
    token_header: Option<&HeaderName>,
    path: &Path,
    report: &mut Report,
) -> Option<Vec<HeaderName>> {
    let written = written.map_or_else(Vec::new, |names| names.0);
    let mut names = Vec::new();
    for text in written {
        let name = HeaderName::try_from(&text).ok();
        let own =
            |name: &HeaderName| OWN_HEADERS.contains(&name.as_str()) || token_header == Some(name);
        match name.filter(|name| !own(name)) {
            Some(name) => names.push(name),
            None => {
                let expected = "names of header fields that gatepass does not set itself";
                report.add(path, format!("{text:?}"), expected);
                return None;
            }
        }
    }
    Some(names)
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
pub(super) fn refuse_loops(routes: &[Settings], listen: &[SocketAddr], report: &mut Report) {
    for (index, route) in routes.iter().enumerate() {
        let (host, port) = route.origin.host_and_port();
        let itself = listen.iter().any(|address| {
            let same_host = host == "localhost" || host == address.ip().to_string();
            address.port() == port && port != 0 && same_host
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

/// Fields that gatepass sets itself or that belong to one connection.
pub(super) const OWN_HEADERS: [&str; 10] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

const PATH: &str = "the path prefix to match, such as \"/connect\"; \"/\" matches everything";
const UPSTREAM: &str = "where to send matched requests, such as \"https://api.example\"";
const CREDENTIAL: &str = "the name of one of the credentials, or \"none\" to add no token";

const DEFAULT_IDLE_CONNECTIONS: usize = 128;
const DEFAULT_REPLAY_LIMIT: Size = Size(64 * 1024);
const MOST_REPLAYED: usize = 16 * 1024 * 1024;
