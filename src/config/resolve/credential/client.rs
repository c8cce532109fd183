//! Who the client is, and how it proves it.

use super::super::super::decode::{Path, Report};
use super::super::super::raw;
use super::super::secret::{self, Keys};
use super::super::{choice, required};
use super::way::{Way, refuse_unused};
use crate::oauth::client_authentication::JWT_BEARER;
use crate::oauth::{ClientAuthentication, KeySource, Secret, SigningAlgorithm, SigningKey};

/// The methods by name: the registered one of RFC 7591 §2, or one of our own where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    SecretBasic,
    SecretBasicRaw,
    SecretPost,
    SecretJwt,
    PrivateKeyJwt,
    Certificate,
    Nothing,
}

pub(super) const METHODS: [(&str, Method); 8] = [
    ("client_secret_basic", Method::SecretBasic),
    ("client_secret_basic_raw", Method::SecretBasicRaw),
    ("client_secret_post", Method::SecretPost),
    ("client_secret_jwt", Method::SecretJwt),
    ("private_key_jwt", Method::PrivateKeyJwt),
    ("tls_client_auth", Method::Certificate),
    ("self_signed_tls_client_auth", Method::Certificate),
    ("none", Method::Nothing),
];

/// The client of an OAuth grant.
pub(super) struct Client {
    pub(super) id: Option<String>,
    pub(super) authentication: ClientAuthentication,
    pub(super) previous_secret: Option<Secret>,
}

pub(super) fn client(
    way: Way,
    raw: &mut raw::Credential,
    path: &Path,
    report: &mut Report,
) -> Option<Client> {
    if matches!(way, Way::HttpBasic | Way::IdentityToolkit) {
        return Some(Client {
            id: None,
            authentication: ClientAuthentication::Nothing,
            previous_secret: None,
        });
    }
    let method = method(way, raw, path, report);
    if let Some(method) = method {
        refuse_unused_keys(way, method, raw, path, report);
    }
    let id = match method {
        // With an assertion, or a token to exchange, that may say all there is to say.
        Some(Method::Nothing) if matches!(way, Way::JwtBearer | Way::TokenExchange) => {
            Some(raw.client_id.clone())
        }
        _ => required(
            raw.client_id.clone(),
            &path.key("client_id"),
            CLIENT_ID,
            report,
        )
        .map(Some),
    };
    let authentication = match method {
        Some(method) => authentication(method, raw, path, report),
        None => {
            look_at_keys(raw, path, report);
            None
        }
    };
    let previous_secret = Keys {
        name: "previous_client_secret",
        value: raw.previous_client_secret.take(),
        file: raw.previous_client_secret_file.take(),
        variable: raw.previous_client_secret_env.take(),
    };
    let previous_secret = previous_secret.resolve(path, report);
    Some(Client {
        id: id?,
        authentication: authentication?,
        previous_secret: previous_secret?,
    })
}

/// Keys of a proof that is not the one that is given.
fn refuse_unused_keys(
    way: Way,
    method: Method,
    raw: &raw::Credential,
    path: &Path,
    report: &mut Report,
) {
    use Method::{PrivateKeyJwt, SecretBasic, SecretBasicRaw, SecretJwt, SecretPost};
    let by_secret = matches!(
        method,
        SecretBasic | SecretBasicRaw | SecretPost | SecretJwt
    );
    let by_statement = method == PrivateKeyJwt && raw.client_assertion_file.is_some();
    let signs = way == Way::JwtBearer && raw.assertion_file.is_none();
    let with_key = raw.service_account_file.is_none() && (signs || method == PrivateKeyJwt);
    let mut unused = Vec::new();
    if !by_secret {
        unused.extend(SECRET_KEYS);
        unused.extend(PREVIOUS_SECRET_KEYS);
    }
    if !by_statement {
        unused.push("client_assertion_type");
    }
    if method != PrivateKeyJwt {
        unused.push("client_assertion_file");
    }
    if !with_key || (by_statement && !signs) {
        unused.extend(["private_key_file", "signing_algorithm"]);
    }
    if !(signs || with_key || method == SecretJwt) {
        unused.extend(["private_key_id", "assertion_audience"]);
    }
    let name = METHODS.iter().find(|(_, of)| *of == method);
    let name = name.map_or("", |(name, _)| name);
    let why = format!("the client proves who it is by {name}");
    refuse_unused(&unused, &why, path, report);
}

/// The method that is written; else the one that goes with what else is written.
fn method(way: Way, raw: &raw::Credential, path: &Path, report: &mut Report) -> Option<Method> {
    let key = path.key("token_endpoint_auth_method");
    let written = raw.token_endpoint_auth_method.as_deref();
    if let Some(method) = choice(written, &METHODS, &key, report)? {
        return Some(method);
    }
    let signs_for_itself = raw.private_key_file.is_some() && way != Way::JwtBearer;
    let has_secret = SECRET_KEYS
        .iter()
        .any(|key| report.is_written(&path.key(key)));
    Some(match way {
        _ if has_secret => Method::SecretBasic,
        _ if signs_for_itself || raw.client_assertion_file.is_some() => Method::PrivateKeyJwt,
        Way::ClientCredentials => Method::SecretBasic,
        _ => Method::Nothing,
    })
}

fn authentication(
    method: Method,
    raw: &mut raw::Credential,
    path: &Path,
    report: &mut Report,
) -> Option<ClientAuthentication> {
    let audience = raw.assertion_audience.clone();
    let secret = client_secret(raw);
    let secret = |report: &mut Report| secret.required(path, CLIENT_SECRET, report);
    Some(match method {
        Method::SecretBasic => ClientAuthentication::SecretBasic(secret(report)?),
        Method::SecretBasicRaw => ClientAuthentication::SecretBasicRaw(secret(report)?),
        Method::SecretPost => ClientAuthentication::SecretPost(secret(report)?),
        Method::SecretJwt => ClientAuthentication::SecretJwt {
            secret: secret(report)?,
            audience,
        },
        Method::PrivateKeyJwt => match raw.client_assertion_file.take() {
            Some(file) => ClientAuthentication::AssertionFile {
                file: secret::file_of_others(file, &path.key("client_assertion_file"), report)?,
                kind: raw
                    .client_assertion_type
                    .take()
                    .unwrap_or_else(|| JWT_BEARER.into()),
            },
            None => ClientAuthentication::PrivateKeyJwt {
                key: signing_key(raw, path, report)?,
                audience,
            },
        },
        Method::Certificate => {
            let key = path.key("tls").key("client_cert_file");
            let file = raw.tls.client_cert_file.clone();
            required(
                file,
                &key,
                "the certificate that proves who the client is",
                report,
            )?;
            ClientAuthentication::Certificate
        }
        Method::Nothing => ClientAuthentication::Nothing,
    })
}

/// Tells what is wrong with a proof that is written where it is not known how it is to be used.
fn look_at_keys(raw: &mut raw::Credential, path: &Path, report: &mut Report) {
    client_secret(raw).resolve(path, report);
    if raw.private_key_file.is_some() {
        signing_key(raw, path, report);
    }
}

fn client_secret(raw: &mut raw::Credential) -> Keys {
    Keys {
        name: "client_secret",
        value: raw.client_secret.take(),
        file: raw.client_secret_file.take(),
        variable: raw.client_secret_env.take(),
    }
}

/// The private key of `private_key_file`.
pub(super) fn signing_key(
    raw: &raw::Credential,
    path: &Path,
    report: &mut Report,
) -> Option<SigningKey> {
    let key = path.key("private_key_file");
    let file = raw.private_key_file.clone();
    let what = "the file with the client's private key, in PEM form";
    let file = required(file, &key, what, report);
    let file = file.and_then(|file| secret::key_file(file, &key, report));
    let algorithm = choice(
        raw.signing_algorithm.as_deref(),
        &SigningAlgorithm::NAMES,
        &path.key("signing_algorithm"),
        report,
    );
    let signing_key = SigningKey {
        key: KeySource::Pem(file?),
        algorithm: algorithm?,
        key_id: raw.private_key_id.clone(),
    };
    checked_key(signing_key, &key, report)
}

/// Makes sure that the key can sign.
pub(super) fn checked_key(key: SigningKey, path: &Path, report: &mut Report) -> Option<SigningKey> {
    match key.check_blocking() {
        Ok(()) => Some(key),
        Err(error) => {
            report.add(
                path,
                error.to_string(),
                "a file with a key that can be used",
            );
            None
        }
    }
}

const SECRET_KEYS: [&str; 3] = ["client_secret", "client_secret_file", "client_secret_env"];

const PREVIOUS_SECRET_KEYS: [&str; 3] = [
    "previous_client_secret",
    "previous_client_secret_file",
    "previous_client_secret_env",
];

const CLIENT_ID: &str = "the identifier that the provider gave this client";
const CLIENT_SECRET: &str = "the secret that the provider gave this client";
