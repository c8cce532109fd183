//! The configuration as it is written: the shape and nothing else. What it means is
//! [`resolve`](super::resolve)'s affair. Every key is optional here, so that a missing one is
//! reported with the others.

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde::Deserialize;

use super::scalar::{
    Count, FileMode, Flag, Number, OneOrMany, Retries, SecretSource, Share, Size, Span,
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Config {
    pub(super) proxy: Proxy,
    pub(super) admin: Admin,
    pub(super) stores: BTreeMap<String, Store>,
    pub(super) credentials: BTreeMap<String, Credential>,
    pub(super) routes: Vec<Route>,
    pub(super) secrets: Secrets,
    pub(super) shutdown: Shutdown,
    pub(super) log: Log,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Proxy {
    pub(super) listen: Option<OneOrMany>,
    pub(super) workers: Option<Count>,
    pub(super) trust_network: Option<Flag>,
    pub(super) names: Option<OneOrMany>,
    pub(super) allowed_origins: Option<OneOrMany>,
    pub(super) callers: Callers,
    pub(super) tls: ListenerTls,
    pub(super) unix: Unix,
    pub(super) timeouts: ProxyTimeouts,
    pub(super) limits: ProxyLimits,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Callers {
    pub(super) key: Option<SecretString>,
    pub(super) key_file: Option<String>,
    pub(super) key_env: Option<String>,
    pub(super) key_header: Option<String>,
    pub(super) uids: Option<Vec<Number>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ListenerTls {
    pub(super) cert_file: Option<String>,
    pub(super) key_file: Option<String>,
    pub(super) client_ca_file: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Unix {
    pub(super) mode: Option<FileMode>,
    pub(super) owner: Option<Number>,
    pub(super) group: Option<Number>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ProxyTimeouts {
    pub(super) header_read: Option<Span>,
    pub(super) keep_alive: Option<Span>,
    pub(super) half_closed: Option<Span>,
    pub(super) drain_upgrades: Option<Span>,
    pub(super) stalled: Option<Span>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ProxyLimits {
    pub(super) connections: Option<Count>,
    pub(super) requests: Option<Count>,
    pub(super) streams: Option<Count>,
    pub(super) headers: Option<Count>,
    pub(super) header_bytes: Option<Size>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Admin {
    pub(super) listen: Option<String>,
    pub(super) quit: Option<Flag>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Store {
    pub(super) kind: Option<String>,
    pub(super) directory: Option<String>,
    pub(super) url: Option<OneOrMany>,
    pub(super) topology: Option<String>,
    pub(super) service: Option<String>,
    pub(super) username: Option<String>,
    pub(super) password: Option<SecretString>,
    pub(super) password_file: Option<String>,
    pub(super) password_env: Option<String>,
    pub(super) key_file: Option<String>,
    pub(super) unencrypted: Option<Flag>,
    pub(super) timeout: Option<Span>,
    pub(super) tls: Tls,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Credential {
    pub(super) preset: Option<String>,
    pub(super) environment: Option<String>,
    pub(super) domain: Option<String>,
    pub(super) tenant: Option<String>,
    pub(super) realm: Option<String>,
    pub(super) authorization_server: Option<String>,
    pub(super) grant_type: Option<String>,
    pub(super) token_endpoint: Option<String>,
    pub(super) issuer: Option<String>,
    pub(super) token_endpoint_auth_method: Option<String>,
    pub(super) client_id: Option<String>,
    pub(super) client_secret: Option<SecretString>,
    pub(super) client_secret_file: Option<String>,
    pub(super) client_secret_env: Option<String>,
    pub(super) previous_client_secret: Option<SecretString>,
    pub(super) previous_client_secret_file: Option<String>,
    pub(super) previous_client_secret_env: Option<String>,
    pub(super) client_assertion_file: Option<String>,
    pub(super) client_assertion_type: Option<String>,
    pub(super) private_key_file: Option<String>,
    pub(super) private_key_id: Option<String>,
    pub(super) signing_algorithm: Option<String>,
    pub(super) username: Option<String>,
    pub(super) password: Option<SecretString>,
    pub(super) password_file: Option<String>,
    pub(super) password_env: Option<String>,
    pub(super) refresh_token: Option<SecretString>,
    pub(super) refresh_token_file: Option<String>,
    pub(super) refresh_token_env: Option<String>,
    pub(super) session_file: Option<String>,
    pub(super) api_key: Option<SecretString>,
    pub(super) api_key_file: Option<String>,
    pub(super) api_key_env: Option<String>,
    pub(super) refresh_endpoint: Option<String>,
    pub(super) service_account_file: Option<String>,
    pub(super) assertion_file: Option<String>,
    pub(super) assertion_audience: Option<String>,
    pub(super) assertion_issuer: Option<String>,
    pub(super) assertion_subject: Option<String>,
    pub(super) assertion_claims: BTreeMap<String, String>,
    pub(super) subject_token_file: Option<String>,
    pub(super) subject_token_type: Option<String>,
    pub(super) actor_token_file: Option<String>,
    pub(super) actor_token_type: Option<String>,
    pub(super) requested_token_type: Option<String>,
    pub(super) token_file: Option<String>,
    pub(super) scope: Option<OneOrMany>,
    pub(super) scope_separator: Option<String>,
    pub(super) audience: Option<String>,
    pub(super) resource: Option<OneOrMany>,
    pub(super) parameters: BTreeMap<String, SecretSource>,
    pub(super) headers: BTreeMap<String, SecretSource>,
    pub(super) body_format: Option<String>,
    pub(super) token_field: Option<OneOrMany>,
    pub(super) token_type: Option<String>,
    pub(super) header: Option<String>,
    pub(super) scheme: Option<String>,
    pub(super) timeout: Option<Span>,
    pub(super) default_lifetime: Option<Span>,
    pub(super) refresh_on_401: Option<String>,
    pub(super) refreshes_on_401_per_minute: Option<Count>,
    pub(super) store: Option<String>,
    pub(super) spread: Option<Share>,
    pub(super) token_requests_per_hour: Option<Count>,
    pub(super) verify: Option<Verify>,
    pub(super) egress_proxy: Option<SecretString>,
    pub(super) tls: Tls,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Verify {
    pub(super) jwks_uri: Option<String>,
    pub(super) issuer: Option<String>,
    pub(super) audience: Option<OneOrMany>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Route {
    pub(super) name: Option<String>,
    pub(super) host: Option<OneOrMany>,
    pub(super) path: Option<String>,
    pub(super) methods: Option<OneOrMany>,
    pub(super) strip_path: Option<Flag>,
    pub(super) upstream: Option<String>,
    pub(super) credential: Option<String>,
    pub(super) tls: Tls,
    pub(super) protocol: Option<String>,
    pub(super) timeouts: RouteTimeouts,
    pub(super) max_connections: Option<Count>,
    pub(super) max_idle_connections: Option<Count>,
    pub(super) max_body: Option<Size>,
    pub(super) retries: Option<Retries>,
    pub(super) replay_limit: Option<Size>,
    pub(super) forwarded: Option<String>,
    pub(super) headers: BTreeMap<String, SecretSource>,
    pub(super) remove_headers: Option<OneOrMany>,
    pub(super) response_headers: BTreeMap<String, SecretSource>,
    pub(super) remove_response_headers: Option<OneOrMany>,
    pub(super) keep_host: Option<Flag>,
    pub(super) rewrite_location: Option<Flag>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RouteTimeouts {
    pub(super) first_token: Option<Span>,
    pub(super) connect: Option<Span>,
    pub(super) response_head: Option<Span>,
    pub(super) idle: Option<Span>,
    pub(super) request: Option<Span>,
    pub(super) keep_alive: Option<Span>,
    pub(super) connection_age: Option<Span>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Tls {
    pub(super) ca_file: Option<String>,
    pub(super) server_name: Option<String>,
    pub(super) client_cert_file: Option<String>,
    pub(super) client_key_file: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Secrets {
    pub(super) readable_by_others: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Shutdown {
    pub(super) delay: Option<Span>,
    pub(super) grace: Option<Span>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Log {
    pub(super) level: Option<String>,
    pub(super) format: Option<String>,
}
