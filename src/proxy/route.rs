//! Which requests go where.

use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use percent_encoding::percent_decode_str;
use serde::Serialize;

use super::metrics::RouteMetrics;
use super::upstream::Origin;
use crate::token::TokenReader;

/// What to match, where to send it, and with which credential.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name, as metrics and answers show it.
    pub name: Arc<str>,
    /// The hosts that are matched, in small letters and without ports; all if there are none.
    pub hosts: Vec<String>,
    /// The paths that are matched.
    pub prefix: PathPrefix,
    /// The methods that are matched; all if there are none.
    pub methods: Vec<Method>,
    /// Whether the matched prefix is taken off before the request is sent on.
    pub strip_path: bool,
    /// Where matched requests go.
    pub origin: Origin,
    /// A digest of all that decides how the upstream is connected to: connections to one with the
    /// same are as good for this route.
    pub upstream_revision: [u8; 32],
    /// The credential whose token is added; none for public data.
    pub credential: Option<String>,
    /// How long each step may take.
    pub timeouts: Timeouts,
    /// In which version of HTTP requests go on.
    pub protocol: Protocol,
    /// How many upstream connections a worker may have.
    pub max_connections: usize,
    /// How many upstream connections a worker keeps for later requests.
    pub max_idle_connections: usize,
    /// How many bytes a request's body may have; any number if there is none.
    pub max_body: Option<u64>,
    /// How often a request is tried again after a connection failed.
    pub retries: u32,
    /// What the upstream is told about the caller.
    pub forwarded: Forwarded,
    /// The field that carries the token.
    pub token_header: HeaderName,
    /// Fields that every request gets besides, in place of what the caller sent.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Whether the caller's Host goes on instead of the upstream's own.
    pub keep_host: bool,
    /// Fields that are taken off every request.
    pub remove_headers: Vec<HeaderName>,
    /// Fields that every answer gets, in place of what the upstream sent.
    pub response_headers: Vec<(HeaderName, HeaderValue)>,
    /// Fields that are taken off every answer.
    pub remove_response_headers: Vec<HeaderName>,
    /// Whether redirects to the upstream become redirects through gatepass.
    pub rewrite_location: bool,
    /// Up to which size a request's body is kept, so that the request can be sent again with
    /// another token.
    pub replay_limit: usize,
}

/// A route at work.
#[derive(Debug)]
pub struct Route {
    pub(super) settings: Settings,
    pub(super) token: Option<TokenReader>,
    pub(super) metrics: RouteMetrics,
    pub(super) destination: Arc<Destination>,
}

impl Route {
    /// Puts a route together. `token` must be there if the settings name a credential; without it
    /// the route would forward what it should not.
    pub fn new(settings: Settings, token: Option<TokenReader>, metrics: RouteMetrics) -> Self {
        Self {
            destination: Arc::new(Destination::of(&settings)),
            settings,
            token,
            metrics,
        }
    }
}

/// A route as traces tell of it.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) route: Arc<str>,
    /// The prefix that it covers.
    pub(super) path: String,
    /// The upstream's host, or the path of its socket.
    pub(super) address: String,
    pub(super) port: Option<u16>,
    /// What stands before the path in the upstream's addresses.
    pub(super) origin: String,
    pub(super) credential: Option<String>,
}

impl Destination {
    fn of(settings: &Settings) -> Self {
        let (address, port) = settings.origin.server();
        Self {
            route: Arc::clone(&settings.name),
            path: settings.prefix.to_string(),
            address,
            port,
            origin: settings.origin.to_string(),
            credential: settings.credential.clone(),
        }
    }
}

/// In which version of HTTP a route's requests go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// In the caller's, as far as the upstream speaks it.
    #[default]
    AsCalled,
    /// In HTTP/1.1.
    Http1,
    /// In HTTP/2 if the upstream speaks it.
    Http2,
}

/// What the upstream is told about the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Forwarded {
    /// Nothing.
    #[default]
    Nothing,
    /// Its address, the host and the scheme that it asked for, by `Forwarded` (RFC 7239).
    Standard,
    /// The same by `X-Forwarded-For`, `X-Forwarded-Host` and `X-Forwarded-Proto`.
    XForwarded,
}

/// How long each step towards an upstream may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// How long a request waits for the first token of its credential; not at all if there is none.
    pub first_token: Option<Duration>,
    /// Making a connection: name look-up, TCP and TLS together.
    pub connect: Duration,
    /// From the end of the request to the head of the answer.
    pub response_head: Duration,
    /// Between two pieces of a body, in either direction.
    pub idle: Duration,
    /// From the head of a request to the end of its answer; without end if there is none.
    pub request: Option<Duration>,
    /// How long an unused connection is kept.
    pub keep_alive: Duration,
    /// How old a connection may be when it takes its last request.
    pub connection_age: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            first_token: None,
            connect: Duration::from_secs(5),
            response_head: Duration::from_secs(60),
            idle: Duration::from_secs(300),
            // Below what servers and load balancers commonly allow (60 s and more), so that
            // gatepass closes first and no request meets a connection that is being closed.
            keep_alive: Duration::from_secs(30),
            request: None,
            // New connections go where the name leads by then.
            connection_age: Duration::from_secs(600),
        }
    }
}

/// A path prefix that ends on a segment boundary: `/a` covers `/a` and `/a/b` but not `/ab`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathPrefix(String);

impl PathPrefix {
    /// Takes a prefix as it is written in the configuration. A slash at its end means nothing.
    ///
    /// # Errors
    ///
    /// It does not begin with a slash, or holds what is not part of a path.
    pub fn new(path: &str) -> Result<Self, InvalidPrefix> {
        let legal = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'*');
        if !path.starts_with('/') || !path.bytes().all(legal) {
            return Err(InvalidPrefix);
        }
        Ok(Self(path.trim_end_matches('/').to_owned()))
    }

    /// The prefix; `/` if it covers everything.
    pub fn as_str(&self) -> &str {
        if self.0.is_empty() { "/" } else { &self.0 }
    }

    pub(super) fn covers(&self, path: &str) -> bool {
        self.rest_of(path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            // `*` and the authority of CONNECT are no paths.
            && path.starts_with('/')
    }

    /// What follows the prefix in a path (or path and query) that it covers.
    pub(super) fn rest_of<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(self.0.as_str())
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A path prefix that cannot match any request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a path that begins with / and holds no space, ?, # or *; it covers everything below it by itself"
)]
pub struct InvalidPrefix;

/// All routes; the most specific one wins, whatever the order in the configuration.
#[derive(Debug)]
pub struct RouteTable(Vec<Route>);

impl RouteTable {
    /// Puts the routes in order.
    pub fn new(mut routes: Vec<Route>) -> Self {
        routes.sort_by_key(|route| {
            let settings = &route.settings;
            let of_hosts = settings.hosts.is_empty();
            let of_methods = settings.methods.is_empty();
            (of_hosts, Reverse(settings.prefix.0.len()), of_methods)
        });
        Self(routes)
    }

    /// The routes, most specific first.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.0.iter()
    }

    /// What there is to say of each, most specific first.
    pub fn descriptions(&self) -> Vec<RouteDescription> {
        self.0
            .iter()
            .map(|route| route.settings.describe())
            .collect()
    }

    /// Whether a route names this host.
    pub(super) fn names_host(&self, host: &str) -> bool {
        self.0.iter().any(|route| route.settings.names_host(host))
    }

    /// The route for a request.
    pub fn find(&self, host: &str, path: &str, method: &Method) -> Found<'_> {
        let found = self.first(host, path, method);
        // Upstreams decode paths and take dot segments away, each in a way of its own. A path that
        // would belong to another route then is not for gatepass to guess about: it might come
        // with the other route's credential, or get around it.
        if may_mean_another(path) {
            let meant = self.first(host, &normalized(path), method);
            let index = |found: Option<(usize, _)>| found.map(|(index, _)| index);
            if found.is_some() && index(found) != index(meant) {
                return Found::Ambiguous;
            }
        }
        if let Some((index, route)) = found {
            return Found::Route(index, route);
        }
        let candidates = self
            .0
            .iter()
            .filter(|route| route.settings.covers(host, path));
        let methods: Vec<_> = candidates
            .flat_map(|route| route.settings.methods.iter().cloned())
            .collect();
        match methods.is_empty() {
            true => Found::Nothing,
            false => Found::OnlyByOtherMethods(methods),
        }
    }

    fn first(&self, host: &str, path: &str, method: &Method) -> Option<(usize, &Route)> {
        let mut routes = self.0.iter().enumerate();
        routes.find(|(_, route)| {
            let settings = &route.settings;
            let by_method = settings.methods.is_empty() || settings.methods.contains(method);
            by_method && settings.covers(host, path)
        })
    }
}

/// A route in words.
#[derive(Debug, Clone, Serialize)]
pub struct RouteDescription {
    /// Its name.
    pub name: String,
    /// The methods, hosts and paths that it takes.
    pub matches: String,
    /// Where they go.
    pub upstream: String,
    /// The credential whose token is added; none for public data.
    pub credential: Option<String>,
}

/// What the table says of a request.
#[derive(Debug)]
pub enum Found<'a> {
    /// Its route, with its index.
    Route(usize, &'a Route),
    /// There are routes for it, but with these methods only.
    OnlyByOtherMethods(Vec<Method>),
    /// Decoded, or without its dot segments, it would belong to another route.
    Ambiguous,
    /// No route covers it.
    Nothing,
}

impl Settings {
    /// What there is to say of it.
    pub fn describe(&self) -> RouteDescription {
        let methods: Vec<_> = self.methods.iter().map(Method::as_str).collect();
        let space = if methods.is_empty() { "" } else { " " };
        let (methods, hosts) = (methods.join("|"), self.hosts.join("|"));
        RouteDescription {
            name: self.name.to_string(),
            matches: format!("{methods}{space}{hosts}{}", self.prefix),
            upstream: format!("{}{}", self.origin, self.origin.base_path()),
            credential: self.credential.clone(),
        }
    }

    fn covers(&self, host: &str, path: &str) -> bool {
        (self.hosts.is_empty() || self.names_host(host)) && self.prefix.covers(path)
    }

    fn names_host(&self, host: &str) -> bool {
        self.hosts
            .iter()
            .any(|named| named.eq_ignore_ascii_case(host))
    }
}

/// Whether there is anything in a path that servers read in more than one way.
fn may_mean_another(path: &str) -> bool {
    let mut before = 0;
    path.bytes().any(|byte| {
        let found = matches!(byte, b'%' | b'\\') || (before == b'/' && matches!(byte, b'.' | b'/'));
        before = byte;
        found
    })
}

/// What a lenient server would make of a path: decoded, backslashes turned, slashes merged, dot
/// segments taken away (RFC 3986 §5.2.4), parameters of segments left out.
fn normalized(path: &str) -> String {
    let decoded = percent_decode_str(path)
        .decode_utf8_lossy()
        .replace('\\', "/");
    let mut segments = Vec::new();
    for segment in decoded.split('/') {
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(prefix: &str, path: &str) -> bool {
        PathPrefix::new(prefix).unwrap().covers(path)
    }

    #[test]
    fn a_prefix_ends_on_a_segment_boundary() {
        for path in ["/connect", "/connect/", "/connect/a/b", "/connect//"] {
            assert!(covers("/connect", path), "{path}");
            assert!(covers("/connect/", path), "{path}");
            assert!(covers("/", path), "{path}");
        }
        for path in [
            "/",
            "/connected",
            "/conne",
            "/a/connect",
            "/Connect",
            "*",
            "",
        ] {
            assert!(!covers("/connect", path), "{path}");
        }
        assert!(!covers("/", "*"));
        assert!(!covers("/", ""));
    }

    #[test]
    fn paths_as_lenient_servers_read_them() {
        for (path, meant) in [
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/..%2fb", "/b"),
            ("/a%2Fb", "/a/b"),
            ("//b", "/b"),
            ("/a/./b", "/a/b"),
            ("/a/..\\b", "/b"),
            ("/a/..;x=1/b", "/b"),
            ("/../../b", "/b"),
            ("/%zz", "/%zz"),
        ] {
            assert!(may_mean_another(path), "{path}");
            assert_eq!(normalized(path), meant, "{path}");
        }
        for path in ["/", "/a", "/a/b.c", "/a.b/c", "/a;x/b", "*"] {
            assert!(!may_mean_another(path), "{path}");
        }
    }

    #[test]
    fn what_is_no_path_is_no_prefix() {
        for path in ["", "connect", "/a b", "/a?b", "/a#b", "/a/*", "/ä", "/a\n"] {
            assert_eq!(PathPrefix::new(path), Err(InvalidPrefix), "{path}");
        }
    }
}
