//! `grant_type`, and which keys belong to which.

use super::super::super::decode::{Path, Report};
use super::super::super::raw;
use super::super::{choice, refuse_keys};
use crate::oauth::grant::{DEVICE_CODE, JWT_BEARER, TOKEN_EXCHANGE};

/// A way to a token, before the keys that it needs are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    ClientCredentials,
    Password,
    RefreshToken,
    JwtBearer,
    TokenExchange,
    AuthorizationCode,
    DeviceCode,
    Implicit,
    HttpBasic,
    IdentityToolkit,
    TokenFile,
}

impl Way {
    /// The registered names, short ones for those that are long, and our own for what is no OAuth.
    pub(super) const NAMES: [(&'static str, Self); 14] = [
        ("client_credentials", Self::ClientCredentials),
        ("password", Self::Password),
        ("refresh_token", Self::RefreshToken),
        ("jwt_bearer", Self::JwtBearer),
        ("token_exchange", Self::TokenExchange),
        ("authorization_code", Self::AuthorizationCode),
        ("device_code", Self::DeviceCode),
        ("implicit", Self::Implicit),
        ("http_basic", Self::HttpBasic),
        ("identity_toolkit", Self::IdentityToolkit),
        ("token_file", Self::TokenFile),
        (JWT_BEARER, Self::JwtBearer),
        (TOKEN_EXCHANGE, Self::TokenExchange),
        (DEVICE_CODE, Self::DeviceCode),
    ];

    /// Which way is written; the usual one if none is.
    pub(super) fn of(raw: &raw::Credential, path: &Path, report: &mut Report) -> Option<Self> {
        let written = raw.grant_type.as_deref();
        let way = choice(written, &Self::NAMES, &path.key("grant_type"), report)?;
        let usual = match raw.token_file {
            Some(_) => Self::TokenFile,
            None => Self::ClientCredentials,
        };
        let way = way.unwrap_or(usual);
        let found = format!("a key that grant_type = \"{}\" does not use", way.name());
        for (keys, _) in KEYS.iter().filter(|(_, is_used)| !is_used(way)) {
            let expected = "another key, or another grant_type";
            refuse_keys(keys, &found, expected, path, report);
        }
        Some(way)
    }

    /// Whether a person logs in beforehand.
    pub(super) fn is_login(self) -> bool {
        matches!(
            self,
            Self::AuthorizationCode | Self::DeviceCode | Self::Implicit
        )
    }

    /// Whether it is OAuth, as [`Grant::is_oauth`](crate::oauth::Grant::is_oauth) has it.
    fn is_oauth(self) -> bool {
        self.asks_provider() && !matches!(self, Self::HttpBasic | Self::IdentityToolkit)
    }

    fn asks_provider(self) -> bool {
        self != Self::TokenFile
    }

    pub(super) fn name(self) -> &'static str {
        let name = Self::NAMES.iter().find(|(_, way)| *way == self);
        name.map_or("", |(name, _)| name)
    }
}

/// Keys, and whether a way uses them.
type Belonging = (&'static [&'static str], fn(Way) -> bool);

/// Which keys belong to which ways. One that is written and not used would be a mistake that nobody
/// notices.
const KEYS: [Belonging; 13] = [
    (
        &[
            "token_endpoint",
            "issuer",
            "timeout",
            "egress_proxy",
            "parameters",
            "headers",
            "verify",
            "store",
            "token_requests_per_hour",
        ],
        Way::asks_provider,
    ),
    (
        &[
            "client_id",
            "client_secret",
            "client_secret_file",
            "client_secret_env",
            "previous_client_secret",
            "previous_client_secret_file",
            "previous_client_secret_env",
            "client_assertion_file",
            "client_assertion_type",
            "token_endpoint_auth_method",
            "private_key_file",
            "private_key_id",
            "signing_algorithm",
            "assertion_audience",
            "scope",
            "scope_separator",
            "audience",
            "resource",
        ],
        Way::is_oauth,
    ),
    (&["body_format"], |way| {
        way == Way::HttpBasic || (way.is_oauth() && way != Way::Implicit)
    }),
    (
        &["username", "password", "password_file", "password_env"],
        |way| matches!(way, Way::Password | Way::HttpBasic | Way::IdentityToolkit),
    ),
    (
        &["refresh_token", "refresh_token_file", "refresh_token_env"],
        |way| way == Way::RefreshToken,
    ),
    (&["session_file"], |way| {
        matches!(
            way,
            Way::Password | Way::RefreshToken | Way::IdentityToolkit
        )
    }),
    (
        &["api_key", "api_key_file", "api_key_env", "refresh_endpoint"],
        |way| way == Way::IdentityToolkit,
    ),
    (
        &[
            "service_account_file",
            "assertion_file",
            "assertion_issuer",
            "assertion_subject",
            "assertion_claims",
        ],
        |way| way == Way::JwtBearer,
    ),
    (
        &[
            "subject_token_file",
            "subject_token_type",
            "actor_token_file",
            "actor_token_type",
            "requested_token_type",
        ],
        |way| way == Way::TokenExchange,
    ),
    (&["authorization_endpoint", "redirect_uri"], |way| {
        matches!(way, Way::AuthorizationCode | Way::Implicit)
    }),
    (
        &["device_authorization_endpoint", "revocation_endpoint"],
        |way| matches!(way, Way::AuthorizationCode | Way::DeviceCode),
    ),
    (&["response_type"], |way| way == Way::Implicit),
    (&["token_file"], |way| way == Way::TokenFile),
];

/// Reports keys that stand there for nothing.
pub(super) fn refuse_unused(keys: &[&str], why: &str, path: &Path, report: &mut Report) {
    let found = format!("a key that is not used, because {why}");
    refuse_keys(keys, &found, "another key, or none", path, report);
}
