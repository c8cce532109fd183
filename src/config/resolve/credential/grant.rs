//! The grants, each from its keys.

use std::collections::BTreeMap;

use url::Url;

use super::super::super::decode::{Path, Report};
use super::super::super::raw;
use super::super::secret::{self, Keys};
use super::super::{endpoint, required};
use super::client;
use super::way::{Way, refuse_unused};
use crate::oauth::grant::{Statement, TokenExchange};
use crate::oauth::jwt_assertion::RESERVED_CLAIMS;
use crate::oauth::transport::is_loopback;
use crate::oauth::{Assertion, Flow, Grant, KeySource, LoginSettings, Secret, SigningKey};

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
            let username = username?;
            if username.contains(':') {
                // RFC 7617 §2: "a user-id containing a colon character is invalid".
                let expected = "a name without a colon, which HTTP Basic cannot carry";
                report.add(&path.key("username"), format!("{username:?}"), expected);
                return None;
            }
            Grant::HttpBasic {
                username,
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
        Way::AuthorizationCode => Grant::Login(Box::new(login(Flow::Code, raw, path, report)?)),
        Way::DeviceCode => Grant::Login(Box::new(login(Flow::Device, raw, path, report)?)),
        Way::Implicit => Grant::Login(Box::new(login(Flow::Implicit, raw, path, report)?)),
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

/// Where people log in is to be known by now, unless the provider says it.
fn login(
    flow: Flow,
    raw: &mut raw::Credential,
    path: &Path,
    report: &mut Report,
) -> Option<LoginSettings> {
    let by_issuer = report.is_written(&path.key("issuer"));
    let mut address =
        |written: Option<String>, key: &str, expected: &str, is_needed: bool| match written {
            None if by_issuer || !is_needed => Some(None),
            written => endpoint::address(written, &path.key(key), expected, report).map(Some),
        };
    let authorization_endpoint = address(
        raw.authorization_endpoint.take(),
        "authorization_endpoint",
        "where people log in, such as https://id.example/oauth2/authorize; or issuer",
        flow != Flow::Device,
    );
    let device_authorization_endpoint = address(
        raw.device_authorization_endpoint.take(),
        "device_authorization_endpoint",
        "where logins on other devices begin, such as https://id.example/oauth2/device; or issuer",
        flow == Flow::Device,
    );
    let revocation_endpoint = address(
        raw.revocation_endpoint.take(),
        "revocation_endpoint",
        "where refresh tokens are taken back, such as https://id.example/oauth2/revoke",
        false,
    );
    let redirect_uri = redirect_uri(raw.redirect_uri.take(), &path.key("redirect_uri"), report);
    Some(LoginSettings {
        flow,
        authorization_endpoint: authorization_endpoint?,
        device_authorization_endpoint: device_authorization_endpoint?,
        revocation_endpoint: revocation_endpoint?,
        redirect_uri: redirect_uri?,
        response_type: raw.response_type.take().unwrap_or_else(|| "token".into()),
    })
}

/// RFC 8252 §7.3: on loopback, without TLS, and on any port if it names none.
fn redirect_uri(written: Option<String>, path: &Path, report: &mut Report) -> Option<Url> {
    let written = written.unwrap_or_else(|| DEFAULT_REDIRECT_URI.into());
    let url = Url::parse(&written).ok();
    let url = url.filter(|url| {
        let plain = url.username().is_empty() && url.query().is_none() && url.fragment().is_none();
        url.scheme() == "http" && is_loopback(url) && plain
    });
    if url.is_none() {
        report.add(
            path,
            format!("{written:?}"),
            "an address of this machine such as \"http://127.0.0.1/callback\", or with a port if the \
             provider knows only that",
        );
    }
    url
}

/// Written by somebody else, or signed with a key.
fn assertion(raw: &mut raw::Credential, path: &Path, report: &mut Report) -> Option<Assertion> {
    let by_key = raw.token_endpoint_auth_method.as_deref() == Some("private_key_jwt");
    let mut sources = vec!["assertion_file", "service_account_file"];
    // The key may be there to say who the client is.
    if !by_key {
        sources.push("private_key_file");
    }
    let written: Vec<_> = sources
        .into_iter()
        .filter(|key| report.is_written(&path.key(key)))
        .collect();
    if let [_, _, ..] = written.as_slice() {
        report.add(path, written.join(" and "), "only one of them");
        return None;
    }
    if let Some(file) = raw.assertion_file.take() {
        let signed = ["assertion_issuer", "assertion_subject", "assertion_claims"];
        refuse_unused(&signed, "assertion_file says it already", path, report);
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
    if has_account && claims.contains_key("scope") {
        let path = path.key("assertion_claims").key("scope");
        report.add(
            &path,
            "a claim that gatepass makes itself",
            "scope beside this table",
        );
        return None;
    }
    Some(Assertion::Signed(Statement {
        key,
        issuer,
        subject: raw.assertion_subject.take(),
        audience: raw.assertion_audience.clone(),
        claims: checked_claims(claims, &path.key("assertion_claims"), report)?,
    }))
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
    if raw.actor_token_file.is_none() {
        refuse_unused(
            &["actor_token_type"],
            "there is no actor_token_file",
            path,
            report,
        );
    }
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

const DEFAULT_REDIRECT_URI: &str = "http://127.0.0.1/callback";
const GOOGLE_REFRESH_ENDPOINT: &str = "https://securetoken.googleapis.com/v1/token";
