//! The keys that take one of a few words, and which.

use super::{credential, exposure, log, preset, route, store};

/// The words of a key, such as `log.level`; none if it takes any text.
pub(in super::super) fn words(path: &str) -> Vec<&'static str> {
    match path {
        "log.level" => names(&log::LEVELS),
        "log.format" => names(&log::FORMATS),
        "log.access.requests" => names(&log::LOGGED),
        "log.access.target" => names(&log::LOGGED_TARGETS),
        "secrets.readable_by_others" => names(&exposure::POLICIES),
        "routes[].protocol" => names(&route::PROTOCOLS),
        "routes[].forwarded" => names(&route::FORWARDED),
        "stores.NAME.topology" => names(&store::TOPOLOGIES),
        "credentials.NAME.preset" => preset::names().collect(),
        "credentials.NAME.environment" => preset::environments().collect(),
        _ => match path.strip_prefix("credentials.NAME.") {
            Some(key) => credential::words(key),
            None => Vec::new(),
        },
    }
}

/// The words of a list that is looked up in.
pub(super) fn names<T>(known: &[(&'static str, T)]) -> Vec<&'static str> {
    known.iter().map(|(name, _)| *name).collect()
}
