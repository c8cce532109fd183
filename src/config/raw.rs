//! The configuration as it is written: the shape and nothing else. What it means is
//! [`resolve`](super::resolve)'s affair. Every key is optional here, so that a missing one is
//! reported with the others.

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde::Deserialize;

use super::scalar::{Count, Flag, OneOrMany, SecretSource, Size, Span};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Config {
    pub(super) proxy: Proxy,
    pub(super) admin: Admin,
    pub(super) credentials: BTreeMap<String, Credential>,
    pub(super) routes: Vec<Route>,
    pub(super) shutdown: Shutdown,
    pub(super) log: Log,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Proxy {
    pub(super) listen: Option<OneOrMany>,
    pub(super) workers: Option<Count>,
    pub(super) trust_network: Option<Flag>,
    pub(super) timeouts: ProxyTimeouts,
    pub(super) limits: ProxyLimits,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ProxyTimeouts {
    pub(super) header_read: Option<Span>,
    pub(super) keep_alive: Option<Span>,
    pub(super) stalled: Option<Span>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ProxyLimits {
    pub(super) connections: Option<Count>,
    pub(super) headers: Option<Count>,
    pub(super) header_bytes: Option<Size>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Admin {
    pub(super) listen: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Credential {
    pub(super) preset: Option<String>,
    pub(super) environment: Option<String>,
    pub(super) domain: Option<String>,
    pub(super) tenant: Option<String>,
    pub(super) realm: Option<String>,
    pub(super) grant_type: Option<String>,
    pub(super) token_endpoint: Option<String>,
    pub(super) token_endpoint_auth_method: Option<String>,
    pub(super) client_id: Option<String>,
    pub(super) client_secret: Option<SecretString>,
    pub(super) client_secret_file: Option<String>,
    pub(super) client_secret_env: Option<String>,
    pub(super) scope: Option<OneOrMany>,
    pub(super) scope_separator: Option<String>,
    pub(super) audience: Option<String>,
    pub(super) resource: Option<OneOrMany>,
    pub(super) parameters: BTreeMap<String, SecretSource>,
    pub(super) headers: BTreeMap<String, SecretSource>,
    pub(super) body_format: Option<String>,
    pub(super) token_field: Option<String>,
    pub(super) header: Option<String>,
    pub(super) scheme: Option<String>,
    pub(super) timeout: Option<Span>,
    pub(super) default_lifetime: Option<Span>,
    pub(super) refresh_on_401: Option<String>,
    pub(super) refreshes_on_401_per_minute: Option<Count>,
    pub(super) tls: Tls,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Route {
    pub(super) name: Option<String>,
    pub(super) path: Option<String>,
    pub(super) strip_path: Option<Flag>,
    pub(super) upstream: Option<String>,
    pub(super) credential: Option<String>,
    pub(super) tls: Tls,
    pub(super) timeouts: RouteTimeouts,
    pub(super) max_idle_connections: Option<Count>,
    pub(super) replay_limit: Option<Size>,
    pub(super) headers: BTreeMap<String, SecretSource>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RouteTimeouts {
    pub(super) connect: Option<Span>,
    pub(super) response_head: Option<Span>,
    pub(super) idle: Option<Span>,
    pub(super) keep_alive: Option<Span>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Tls {
    pub(super) ca_file: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Shutdown {
    pub(super) grace: Option<Span>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Log {
    pub(super) level: Option<String>,
    pub(super) format: Option<String>,
}
