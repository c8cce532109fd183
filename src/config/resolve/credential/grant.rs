//! `grant_type`, and the keys that belong to one grant or another.

use std::collections::BTreeMap;

use super::super::super::decode::{Path, Report};
use super::super::super::raw;
use super::super::secret::{self, Keys};
use super::super::{choice, endpoint, required};
use super::client;
use crate::oauth::grant::{JWT_BEARER, TOKEN_EXCHANGE, TokenExchange};
use crate::oauth::jwt_assertion::RESERVED_CLAIMS;
use crate::oauth::{Assertion, Grant, KeySource, Secret, SigningKey};

/// A way to a token, before the keys that it needs are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    ClientCredentials,
    Password,
    RefreshToken,
    JwtBearer,
    TokenExchange,
    HttpBasic,
    IdentityToolkit,
    TokenFile,
}

impl Way {
    /// The registered names, short ones for those that are long, and our own for what is no OAuth.
    const NAMES: [(&'static str, Self); 10] = [
        ("client_credentials", Self::ClientCredentials),
        ("password", Self::Password),
        ("refresh_token", Self::RefreshToken),
        ("jwt_bearer", Self::JwtBearer),
        ("token_exchange", Self::TokenExchange),
        ("http_basic", Self::HttpBasic),
        ("identity_toolkit", Self::IdentityToolkit),
        ("token_file", Self::TokenFile),
        (JWT_BEARER, Self::JwtBearer),
        (TOKEN_EXCHANGE, Self::TokenExchange),
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

    pub(super) fn name(self) -> &'static str {
        let name = Self::NAMES.iter().find(|(_, way)| *way == self);
        name.map_or("", |(name, _)| name)
    }
}

use Way::{
    ClientCredentials, HttpBasic, IdentityToolkit, JwtBearer, Password, RefreshToken, TokenFile,
};

const OAUTH: &[Way] = &[
    ClientCredentials,
    Password,
    RefreshToken,
    JwtBearer,
    Way::TokenExchange,
];

const AT_PROVIDERS: &[Way] = &[
    ClientCredentials,
    Password,
    RefreshToken,
    JwtBearer,
    Way::TokenExchange,
    HttpBasic,
    IdentityToolkit,
];

/// Which keys belong to which ways. One that is written and not used would be a mistake that nobody
/// notices.
const KEYS: [(&[&str], &[Way]); 10] = [
    (
        &[
            "token_endpoint",
            "issuer",
            "timeout",
            "egress_proxy",
            "parameters",
            "headers",
            "verify",
        ],
        AT_PROVIDERS,
    ),
    (
        &[
            "client_id",
            "client_secret",
            "client_secret_file",
            "client_secret_env",
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
    (&["token_file"], &[TokenFile]),
];

/// Resolves a grant of a provider; `None` for a way that needs no provider, or after a mistake.
pub(super) fn grant(
    way: Way,
    raw: &mut raw::Credential,
    path: &Path,
    report: &mut Report,
) -> Option<Grant> {
    Some(match way {
        Way::ClientCredentials => Grant::ClientCredentials,
        Way::Password => {
            let (username, password) = user(raw, path, report);
            Grant::Password {
                username: username?,
                password: password?,
            }
        }
        Way::HttpBasic => {
            let (username, password) = user(raw, path, report);
            Grant::HttpBasic {
                username: username?,
                password: password?,
            }
        }
        Way::RefreshToken => Grant::RefreshToken {
            first: Keys {
                name: "refresh_token",
                value: raw.refresh_token.take(),
                file: raw.refresh_token_file.take(),
                variable: raw.refresh_token_env.take(),
            }
            .required(path, "a refresh token that the provider gave out", report)?,
        },
        Way::JwtBearer => Grant::JwtBearer(assertion(raw, path, report)?),
        Way::TokenExchange => Grant::TokenExchange(exchange(raw, path, report)?),
        Way::IdentityToolkit => identity_toolkit(raw, path, report)?,
        Way::TokenFile => return None,
    })
}

fn user(
    raw: &mut raw::Credential,
    path: &Path,
    report: &mut Report,
) -> (Option<String>, Option<Secret>) {
    let username = required(
        raw.username.take(),
        &path.key("username"),
        "the name of the user that signs in",
        report,
    );
    let password = Keys {
        name: "password",
        value: raw.password.take(),
        file: raw.password_file.take(),
        variable: raw.password_env.take(),
    };
    (
        username,
        password.required(path, "the user's password", report),
    )
}

fn identity_toolkit(raw: &mut raw::Credential, path: &Path, report: &mut Report) -> Option<Grant> {
    let (email, password) = user(raw, path, report);
    let api_key = Keys {
        name: "api_key",
        value: raw.api_key.take(),
        file: raw.api_key_file.take(),
        variable: raw.api_key_env.take(),
    };
    let api_key = api_key.required(path, "the key of the Google project", report);
    let written = raw.refresh_endpoint.take();
    let refresh_endpoint = endpoint::address(
        written.or_else(|| Some(GOOGLE_REFRESH_ENDPOINT.into())),
        &path.key("refresh_endpoint"),
        "where refresh tokens are taken, such as https://securetoken.googleapis.com/v1/token",
        report,
    );
    Some(Grant::IdentityToolkit {
        email: email?,
        password: password?,
        api_key: api_key?,
        refresh_endpoint: refresh_endpoint?,
    })
}

/// Written by somebody else, or signed with a key.
fn assertion(raw: &mut raw::Credential, path: &Path, report: &mut Report) -> Option<Assertion> {
    let sources = ["assertion_file", "service_account_file", "private_key_file"];
    let written: Vec<_> = sources
        .into_iter()
        .filter(|key| report.is_written(&path.key(key)))
        .collect();
    if let [_, _, ..] = written.as_slice() {
        report.add(path, written.join(" and "), "only one of them");
        return None;
    }
    if let Some(file) = raw.assertion_file.take() {
        let key = path.key("assertion_file");
        return secret::file_of_others(file, &key, report).map(Assertion::File);
    }
    let key = match raw.service_account_file.take() {
        Some(file) => {
            let path = path.key("service_account_file");
            let key = SigningKey {
                key: KeySource::ServiceAccount(secret::key_file(file, &path, report)?),
                algorithm: None,
                key_id: raw.private_key_id.clone(),
            };
            client::checked_key(key, &path, report)?
        }
        None if raw.private_key_file.is_some() => client::signing_key(raw, path, report)?,
        None => {
            report.add(
                &path.key("assertion_file"),
                "nothing",
                "assertion_file, or a key to sign an assertion with: private_key_file or \
                 service_account_file",
            );
            return None;
        }
    };
    let issuer = raw.assertion_issuer.take();
    let has_account = matches!(key.key, KeySource::ServiceAccount(_));
    if issuer.is_none() && raw.client_id.is_none() && !has_account {
        report.add(
            &path.key("client_id"),
            "nothing",
            "the identifier that the provider gave this client, or assertion_issuer; a statement \
             needs somebody who says it",
        );
        return None;
    }
    let claims = std::mem::take(&mut raw.assertion_claims);
    Some(Assertion::Signed {
        key,
        issuer,
        subject: raw.assertion_subject.take(),
        audience: raw.assertion_audience.clone(),
        claims: checked_claims(claims, &path.key("assertion_claims"), report)?,
    })
}

fn checked_claims(
    claims: BTreeMap<String, String>,
    path: &Path,
    report: &mut Report,
) -> Option<BTreeMap<String, String>> {
    let reserved: Vec<_> = claims
        .keys()
        .filter(|name| RESERVED_CLAIMS.contains(&name.as_str()))
        .collect();
    for name in &reserved {
        report.add(
            &path.key(name),
            "a claim that gatepass makes itself",
            "assertion_issuer, assertion_subject or assertion_audience, if it is one of these",
        );
    }
    reserved.is_empty().then_some(claims)
}

fn exchange(raw: &mut raw::Credential, path: &Path, report: &mut Report) -> Option<TokenExchange> {
    let subject_token = required(
        raw.subject_token_file.take(),
        &path.key("subject_token_file"),
        "the file with the token that is given for another",
        report,
    );
    let jwt = || "urn:ietf:params:oauth:token-type:jwt".to_owned();
    let actor_type = raw.actor_token_type.take();
    let subject_token = subject_token
        .and_then(|file| secret::file_of_others(file, &path.key("subject_token_file"), report));
    let actor = match raw.actor_token_file.take() {
        Some(file) => {
            let file = secret::file_of_others(file, &path.key("actor_token_file"), report)?;
            Some((file, actor_type.unwrap_or_else(jwt)))
        }
        None => None,
    };
    Some(TokenExchange {
        subject_token: subject_token?,
        subject_token_type: raw.subject_token_type.take().unwrap_or_else(jwt),
        actor,
        requested_token_type: raw.requested_token_type.take(),
    })
}

const GOOGLE_REFRESH_ENDPOINT: &str = "https://securetoken.googleapis.com/v1/token";
