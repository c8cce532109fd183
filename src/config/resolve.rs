//! What a configuration means: from the raw types to [`Settings`], noting what cannot be meant.

mod credential;
mod endpoint;
mod exposure;
mod listener;
mod log;
mod preset;
mod revision;
mod route;
mod secret;
mod store;
mod traces;
mod trust;
mod words;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::decode::{Path, Report};
use super::problem::near_miss;
use super::scalar::{Count, Number, OneOrMany, Size, Workers, value_or};
use super::{Admin, Guard, Proxy, Settings, raw};
use crate::proxy::Admission;
use crate::{proxy, runtime, server};
pub(super) use listener::admin_address;
pub use preset::names as presets;
pub(super) use secret::unexpanded;
pub use secret::{FILE_TO_COME, is_surely_a_path};
use trust::TrustedRoots;
pub(super) use words::words;

/// Resolves everything that can be resolved. `None`, or a report that is not clean, means that
/// something cannot.
pub(super) fn resolve(raw: raw::Config, report: &mut Report) -> Option<Settings> {
    let mut roots = TrustedRoots::default();
    let admin = admin_settings(raw.admin, report);
    let admin_address = admin.as_ref().map(|admin| &admin.listen);
    let proxy = proxy_settings(raw.proxy, admin_address, report);
    if let (Some(proxy), Some(address)) = (&proxy, admin_address) {
        listener::distinct(&proxy.listen, address, report);
    }

    let stores = store::resolve(raw.stores, &mut roots, report);
    let headers = raw
        .credentials
        .iter()
        .map(|(name, raw)| (name.clone(), credential::token_header(name, raw, report)))
        .collect();
    credential::distinct_session_files(&raw.credentials, report);
    credential::known_stores(&raw.credentials, report);
    let routes = route::resolve(raw.routes, &headers, &mut roots, report);
    let (used, unused): (BTreeMap<_, _>, BTreeMap<_, _>) = raw
        .credentials
        .into_iter()
        .partition(|(name, _)| is_used(name, &routes));
    let mut warnings: Vec<_> = unused
        .keys()
        .map(|name| format!("no route uses credential \"{name}\": no token is fetched for it"))
        .collect();
    // Those that no route uses are held to the same rules: they are there to be used one day.
    let unused = credential::resolve(unused, &mut roots, report);
    let credentials = credential::resolve(used, &mut roots, report);
    let traces = traces::resolve(raw.traces, &mut roots, report);
    // Before any `?`: a mistake that ends this early would hide those that are looked at after it.
    let log = log::settings(&raw.log, report);
    let access_log = log::access(raw.log.access, report);
    exposure::check(&raw.secrets, report);
    warnings.extend(report.take_warnings());
    if let (Some(proxy), Some(routes)) = (&proxy, &routes) {
        route::refuse_loops(routes, &proxy.listen, report);
        warnings.extend(route::tokens_in_the_clear(routes));
    }

    Some(Settings {
        revision: revision::of_all(report),
        fixed: revision::of_fixed(report),
        proxy: proxy?,
        admin: admin?,
        stores: stores?,
        delay: value_or(raw.shutdown.delay, Duration::ZERO),
        credentials: credentials?,
        unused: unused?,
        routes: routes?,
        grace: value_or(raw.shutdown.grace, DEFAULT_GRACE),
        log: log?,
        traces: traces?,
        access_log: access_log?,
        // Told once all of it is there.
        annotated: String::new(),
        files: BTreeMap::new(),
        secret_variables: report.secret_variables.clone(),
        warnings,
    })
}

/// Names are values of metrics' labels and parts of environment variables' names.
fn is_legal_name(name: &str) -> bool {
    let legal =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '.');
    !name.is_empty() && name.chars().all(legal) && !name.contains("__")
}

const LEGAL_NAME: &str = "a name of small letters, digits, _ - and ., without two _ side by side";

fn is_used(credential: &str, routes: &Option<Vec<proxy::Settings>>) -> bool {
    routes
        .iter()
        .flatten()
        .any(|route| route.credential.as_deref() == Some(credential))
}

fn admin_settings(raw: raw::Admin, report: &mut Report) -> Option<Admin> {
    let quit = value_or(raw.quit, false);
    let show_subject = value_or(raw.show_subject, false);
    let event_streams = event_streams(raw.event_streams, report);
    Some(Admin {
        listen: listener::admin_address(raw, report)?,
        quit,
        show_subject,
        event_streams,
    })
}

fn proxy_settings(
    raw: raw::Proxy,
    admin: Option<&server::Address>,
    report: &mut Report,
) -> Option<Proxy> {
    let path = Path::new(["proxy"]);
    let counts_connections = raw.limits.connections.is_some();
    let max_requests = value_or(raw.limits.requests, DEFAULT_REQUESTS);
    let connections = connections(raw.timeouts, raw.limits, &path.key("limits"), report);
    let workers = match raw.workers {
        None => 1,
        Some(Workers::Fixed(Count(workers))) => {
            at_most(MOST_WORKERS, workers, &path.key("workers"), report)
        }
        Some(Workers::Auto) => runtime::processors().min(MOST_WORKERS),
    };
    let has_uids = raw.callers.uids.is_some();
    let callers = listener::callers(raw.callers, &path.key("callers"), report);
    let has_key = callers.as_ref().is_none_or(|callers| callers.key.is_some());
    let guard = Guard {
        everywhere: has_key || value_or(raw.trust_network, false),
        by_certificate: raw.tls.client_ca_file.is_some(),
    };
    let listen = listener::proxy_listeners(raw.listen, raw.tls, guard, &path, report);
    if let Some(listen) = &listen {
        listener::warn_of_sockets(listen, admin, &raw.unix, has_uids, report);
    }
    let names = raw.names.unwrap_or_default().0;
    let names = listener::names(names, listen.as_deref(), &path.key("names"), report);
    let origins = raw.allowed_origins.unwrap_or_default().0;
    let allowed_origins = listener::origins(origins, &path.key("allowed_origins"), report);
    Some(Proxy {
        listen: listen?,
        guard,
        admission: Admission {
            names: names?,
            allowed_origins: allowed_origins?,
            callers: callers?,
        },
        unix: listener::unix_access(&raw.unix),
        max_requests,
        workers,
        connections,
        counts_connections,
    })
}

/// The limits of the callers' connections.
fn connections(
    timeouts: raw::ProxyTimeouts,
    limits: raw::ProxyLimits,
    path: &Path,
    report: &mut Report,
) -> server::Settings {
    let defaults = server::Settings::default();
    let header_bytes = limits.header_bytes.and_then(|size| {
        let expected = "a size between 8KiB and 16MiB";
        bytes_within(
            HEADER_BYTES,
            size,
            expected,
            &path.key("header_bytes"),
            report,
        )
    });
    let streams = limits.streams.map(|streams| {
        let path = path.key("streams");
        at_most_u32(MOST_STREAMS, streams, &path, report)
    });
    server::Settings {
        header_read: value_or(timeouts.header_read, defaults.header_read),
        keep_alive: value_or(timeouts.keep_alive, defaults.keep_alive),
        drain_upgrades: timeouts.drain_upgrades.map(Into::into),
        half_closed: value_or(timeouts.half_closed, defaults.half_closed),
        stalled: value_or(timeouts.stalled, defaults.stalled),
        max_connections: at_most(
            MOST_CONNECTIONS,
            value_or(limits.connections, defaults.max_connections),
            &path.key("connections"),
            report,
        ),
        max_streams: streams.unwrap_or(defaults.max_streams),
        max_headers: at_most(
            MOST_HEADERS,
            value_or(limits.headers, defaults.max_headers),
            &path.key("headers"),
            report,
        ),
        max_header_bytes: header_bytes.unwrap_or(defaults.max_header_bytes),
    }
}

fn event_streams(written: Option<Number>, report: &mut Report) -> usize {
    let Some(Number(wanted)) = written else {
        return DEFAULT_EVENT_STREAMS;
    };
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    at_most(
        MOST_EVENT_STREAMS,
        wanted,
        &Path::new(["admin", "event_streams"]),
        report,
    )
}

fn at_most(most: usize, wanted: usize, path: &Path, report: &mut Report) -> usize {
    if wanted > most {
        report.add(path, wanted.to_string(), format!("at most {most}"));
    }
    wanted.min(most)
}

/// The same where it is counted in fewer bits.
fn at_most_u32(most: u32, Count(wanted): Count, path: &Path, report: &mut Report) -> u32 {
    let bounded = at_most(most as usize, wanted, path, report);
    u32::try_from(bounded).unwrap_or(most)
}

/// A number of bytes within these.
fn bytes_within(
    range: RangeInclusive<usize>,
    Size(wanted): Size,
    expected: &str,
    path: &Path,
    report: &mut Report,
) -> Option<usize> {
    let fitting = usize::try_from(wanted).ok();
    let fitting = fitting.filter(|bytes| range.contains(bytes));
    if fitting.is_none() {
        report.add(path, format!("{wanted} bytes"), expected);
    }
    fitting
}

/// A text that must be there.
fn required(
    written: Option<String>,
    path: &Path,
    expected: &str,
    report: &mut Report,
) -> Option<String> {
    match written {
        Some(text) if !text.is_empty() => Some(text),
        Some(_) => {
            report.add(path, "an empty string", expected);
            None
        }
        None => {
            // A value that did not fit has been reported already; it is not missing as well.
            if !report.is_written(path) {
                report.add(path, "nothing", expected);
            }
            None
        }
    }
}

/// Reports those of these keys that are written: each would be a mistake that nobody notices.
fn refuse_keys(keys: &[&str], found: &str, expected: &str, table: &Path, report: &mut Report) {
    for key in keys.iter().map(|key| table.key(key)) {
        if report.is_written(&key) {
            report.add(&key, found, expected);
        }
    }
}

/// What something is held to. Of nothing in an empty list, that would be anything.
fn any_of(written: Option<OneOrMany>, path: &Path, report: &mut Report) -> Option<Vec<String>> {
    let written = written.map(|list| list.0);
    if written.as_ref().is_some_and(Vec::is_empty) {
        report.add(
            path,
            "an empty list",
            "one or more, or no such key where any will do",
        );
        return None;
    }
    Some(written.unwrap_or_default())
}

/// One of a few words; `Some(None)` if none is written.
fn choice<T: Copy>(
    written: Option<&str>,
    known: &[(&str, T)],
    path: &Path,
    report: &mut Report,
) -> Option<Option<T>> {
    let Some(word) = written else {
        return Some(None);
    };
    let found = known.iter().find(|(name, _)| *name == word);
    if found.is_none() {
        let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
        report.add(path, format!("{word:?}"), one_of(word, &names));
    }
    found.map(|(_, value)| Some(*value))
}

/// "one of a, b", and which of them was probably meant.
fn one_of(word: &str, known: &[&str]) -> String {
    let all = match known {
        [only] => return format!("{only:?}"),
        several => several.join(", "),
    };
    match near_miss(word, known.iter().copied()) {
        Some(meant) => format!("one of {all}; did you mean {meant}?"),
        None => format!("one of {all}"),
    }
}

const DEFAULT_GRACE: Duration = Duration::from_secs(30);

const DEFAULT_REQUESTS: usize = 10_000;

const DEFAULT_EVENT_STREAMS: usize = 10;

/// Half of the admin listener's connections: probes come through.
const MOST_EVENT_STREAMS: usize = 50;

const MOST_WORKERS: usize = 64;
const MOST_STREAMS: u32 = 10_000;
const MOST_CONNECTIONS: usize = 1_000_000;

/// hyper makes room for all of them on every connection.
const MOST_HEADERS: usize = 10_000;

/// hyper needs 8 KiB to read a head at all; more than 16 MiB for one connection is a mistake.
const HEADER_BYTES: RangeInclusive<usize> = 8 * 1024..=16 * 1024 * 1024;
