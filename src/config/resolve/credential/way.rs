//! `grant_type`, and which keys belong to which.

use super::super::super::decode::{Path, Report};
use super::super::super::raw;
use super::super::choice;
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
        let unused = KEYS.iter().filter(|(_, ways)| !ways.contains(&way));
        for key in unused.flat_map(|(keys, _)| *keys) {
            if report.is_written(&path.key(key)) {
                report.add(
                    &path.key(key),
                    format!("a key that grant_type = \"{}\" does not use", way.name()),
                    "another key, or another grant_type",
                );
            }
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

    pub(super) fn name(self) -> &'static str {
        let name = Self::NAMES.iter().find(|(_, way)| *way == self);
        name.map_or("", |(name, _)| name)
    }
}

use Way::{
    AuthorizationCode, ClientCredentials, DeviceCode, HttpBasic, IdentityToolkit, Implicit,
    JwtBearer, Password, RefreshToken, TokenFile,
};

const OAUTH: &[Way] = &[
    ClientCredentials,
    Password,
    RefreshToken,
    JwtBearer,
    Way::TokenExchange,
    AuthorizationCode,
    DeviceCode,
    Implicit,
];

const AT_PROVIDERS: &[Way] = &[
    ClientCredentials,
    Password,
    RefreshToken,
    JwtBearer,
    Way::TokenExchange,
    AuthorizationCode,
    DeviceCode,
    Implicit,
    HttpBasic,
    IdentityToolkit,
];

/// Which keys belong to which ways. One that is written and not used would be a mistake that nobody
/// notices.
const KEYS: [(&[&str], &[Way]); 14] = [
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
        AT_PROVIDERS,
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
        OAUTH,
    ),
    (
        &["body_format"],
        &[
            ClientCredentials,
            Password,
            RefreshToken,
            JwtBearer,
            Way::TokenExchange,
            AuthorizationCode,
            DeviceCode,
            HttpBasic,
        ],
    ),
    (
        &["username", "password", "password_file", "password_env"],
        &[Password, HttpBasic, IdentityToolkit],
    ),
    (
        &["refresh_token", "refresh_token_file", "refresh_token_env"],
        &[RefreshToken],
    ),
    (
        &["session_file"],
        &[Password, RefreshToken, IdentityToolkit],
    ),
    (
        &["api_key", "api_key_file", "api_key_env", "refresh_endpoint"],
        &[IdentityToolkit],
    ),
    (
        &[
            "service_account_file",
            "assertion_file",
            "assertion_issuer",
            "assertion_subject",
            "assertion_claims",
        ],
        &[JwtBearer],
    ),
    (
        &[
            "subject_token_file",
            "subject_token_type",
            "actor_token_file",
            "actor_token_type",
            "requested_token_type",
        ],
        &[Way::TokenExchange],
    ),
    (
        &["authorization_endpoint", "redirect_uri"],
        &[AuthorizationCode, Implicit],
    ),
    (
        &["device_authorization_endpoint"],
        &[AuthorizationCode, DeviceCode],
    ),
    (&["revocation_endpoint"], &[AuthorizationCode, DeviceCode]),
    (&["response_type"], &[Implicit]),
    (&["token_file"], &[TokenFile]),
];

/// Reports keys that stand there for nothing.
pub(super) fn refuse_unused(keys: &[&str], why: &str, path: &Path, report: &mut Report) {
    for key in keys {
        if report.is_written(&path.key(key)) {
            let found = format!("a key that is not used, because {why}");
            report.add(&path.key(key), found, "another key, or none");
        }
    }
}
