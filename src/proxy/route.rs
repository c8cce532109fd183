//! What is to become of requests: what a route matches, where it leads and how.

mod prefix;
mod table;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use serde::Serialize;

pub use self::prefix::{InvalidPrefix, PathPrefix};
pub use self::table::{Found, RouteTable};
use super::metrics::{RouteFigures, RouteMetrics};
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
    /// How many fields an answer may have.
    pub max_response_headers: usize,
    /// Up to which size a request's body is kept, so that the request can be sent again with
    /// another token.
    pub replay_limit: usize,
}

/// How many fields of an answer hyper has room for without asking for memory, and takes by itself.
pub const USUAL_HEADERS: usize = 100;

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

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.settings.name
    }

    /// What there is to say of it.
    pub fn describe(&self) -> RouteDescription {
        self.settings.describe()
    }

    /// How it has been doing.
    pub fn figures(&self) -> RouteFigures {
        self.metrics.figures()
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
