//! `[credentials.NAME]`

use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderName;
use http::header::AUTHORIZATION;
use secrecy::SecretString;
use url::Url;

use super::super::decode::{Path, Report};
use super::super::raw;
use super::super::scalar::{Count, OneOrMany, SecretSource, value_or};
use super::{
    LEGAL_NAME, TrustedRoots, at_most, choice, endpoint, is_legal_name, preset, required, route,
    secret,
};
use crate::oauth::{
    BodyFormat, ClientAuthentication, RESERVED_PARAMETERS, Secret, Settings, TokenLocation,
};
use crate::token::{RefusalSettings, RefusedBy};

/// Resolves the credentials; none if any of them has a mistake.
pub(super) fn resolve(
    raw: BTreeMap<String, raw::Credential>,
    roots: &mut TrustedRoots,
    report: &mut Report,
) -> Option<Vec<Settings>> {
    let resolved: Vec<_> = raw
        .into_iter()
        .map(|(name, raw)| credential(name, raw, roots, report))
        .collect();
    resolved.into_iter().collect()
}

fn credential(
    name: String,
    mut raw: raw::Credential,
    roots: &mut TrustedRoots,
    report: &mut Report,
) -> Option<Settings> {
    let path = Path::new(["credentials", &name]);
    check_name(&name, &path, report);
    let endpoint_is_known = preset::apply(&mut raw, &path, report);
    choice(
        raw.grant_type.as_deref(),
        &[("client_credentials", ())],
        &path.key("grant_type"),
        report,
    );
    let client_authentication = choice(
        raw.token_endpoint_auth_method.as_deref(),
        &ClientAuthentication::NAMES,
        &path.key("token_endpoint_auth_method"),
        report,
    );
    let token_endpoint = match endpoint_is_known {
        true => endpoint::token_endpoint(raw.token_endpoint, &path, report),
        false => None,
    };
    let client_id = required(raw.client_id, &path.key("client_id"), CLIENT_ID, report);
    let client_secret = client_secret(
        raw.client_secret,
        raw.client_secret_file,
        raw.client_secret_env,
        &path,
        report,
    );
    let separator = raw.scope_separator.as_deref().unwrap_or(" ");
    let scope = scope(raw.scope, separator, &path.key("scope"), report);
    let parameters = parameters(raw.parameters, &path.key("parameters"), report);
    let headers = secret::headers(raw.headers, &OWN_HEADERS, &path.key("headers"), report);
    let body_format = choice(
        raw.body_format.as_deref(),
        &BODY_FORMATS,
        &path.key("body_format"),
        report,
    );
    let token_location = token_location(raw.token_field, &path.key("token_field"), report);
    let scheme = scheme(raw.scheme, &path.key("scheme"), report);
    let refusals = refusals(
        raw.refresh_on_401.as_deref(),
        raw.refreshes_on_401_per_minute,
        &path,
        report,
    );
    let endpoint_scheme = token_endpoint.as_ref().map_or("", Url::scheme);
    let tls = roots.config(endpoint_scheme, &raw.tls, &path, report);
    Some(Settings {
        credential: name,
        token_endpoint: token_endpoint?,
        client_id: client_id?,
        client_secret: client_secret?,
        client_authentication: client_authentication?.unwrap_or_default(),
        scope: scope?,
        resource: raw.resource.map_or_else(Vec::new, |resource| resource.0),
        parameters: parameters?,
        headers: headers.into_iter().collect::<Option<_>>()?,
        body_format: body_format?.unwrap_or_default(),
        token_location: token_location?,
        scheme: scheme?,
        audience: raw.audience.filter(|audience| !audience.is_empty()),
        default_lifetime: value_or(raw.default_lifetime, DEFAULT_LIFETIME),
        timeout: value_or(raw.timeout, DEFAULT_TIMEOUT),
        refusals: refusals?,
        tls: tls?,
    })
}

fn check_name(name: &str, path: &Path, report: &mut Report) {
    if name == super::route::NO_CREDENTIAL {
        report.add(
            path,
            "the name \"none\"",
            "another one; it is the word of routes that add no token",
        );
    } else if !is_legal_name(name) {
        report.add(path, format!("the name {name:?}"), LEGAL_NAME);
    }
}

fn client_secret(
    value: Option<SecretString>,
    file: Option<String>,
    variable: Option<String>,
    path: &Path,
    report: &mut Report,
) -> Option<Secret> {
    let mut written: Vec<_> = SECRET_KEYS
        .into_iter()
        .filter(|key| report.is_written(&path.key(key)))
        .collect();
    // A variable goes over the file, also where the file has another of the three keys.
    if let Some(over) = written
        .iter()
        .find(|key| report.is_from_environment(&path.key(key)))
    {
        written = vec![over];
    }
    let key = match written.as_slice() {
        [] => {
            report.add(&path.key("client_secret_file"), "nothing", CLIENT_SECRET);
            return None;
        }
        [only] => path.key(only),
        several => {
            report.add(path, several.join(" and "), "only one of them");
            return None;
        }
    };
    let source = match written.first() {
        Some(&"client_secret") => SecretSource::Value(value?),
        Some(&"client_secret_file") => SecretSource::File(file?),
        _ => SecretSource::Variable(variable?),
    };
    secret::resolve(source, &key, "client_secret = \"…\"", report)
}

fn refusals(
    refused_by: Option<&str>,
    per_minute: Option<Count>,
    path: &Path,
    report: &mut Report,
) -> Option<RefusalSettings> {
    let defaults = RefusalSettings::default();
    let path_to = |key| path.key(key);
    let refused_by = choice(refused_by, &REFUSED_BY, &path_to("refresh_on_401"), report);
    let per_minute = match per_minute {
        None => defaults.per_minute,
        Some(Count(wanted)) => {
            let key = path_to("refreshes_on_401_per_minute");
            u32::try_from(at_most(MOST_REFRESHES, wanted, &key, report)).ok()?
        }
    };
    Some(RefusalSettings {
        refused_by: refused_by?.unwrap_or(defaults.refused_by),
        per_minute,
    })
}

/// `Some(None)` if none is asked for: some providers refuse an empty scope, so it is left out.
fn scope(
    written: Option<OneOrMany>,
    separator: &str,
    path: &Path,
    report: &mut Report,
) -> Option<Option<String>> {
    let joined = written.map(|list| list.0.join(" ")).unwrap_or_default();
    // RFC 6749 §3.3: scope-token = 1*( %x21 / %x23-5B / %x5D-7E )
    let legal = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\');
    let tokens: Vec<_> = joined.split_whitespace().collect();
    if let Some(token) = tokens.iter().find(|token| !token.chars().all(legal)) {
        report.add(
            path,
            format!("{token:?}"),
            "scopes of visible ASCII characters without quotes and backslashes",
        );
        return None;
    }
    Some(Some(tokens.join(separator)).filter(|scope| !scope.is_empty()))
}

/// The field that carries the credential's tokens.
pub(super) fn token_header(
    name: &str,
    raw: &raw::Credential,
    report: &mut Report,
) -> Option<HeaderName> {
    let Some(written) = &raw.header else {
        return Some(AUTHORIZATION);
    };
    let header = HeaderName::try_from(written).ok();
    let header = header.filter(|header| !route::OWN_HEADERS.contains(&header.as_str()));
    if header.is_none() {
        report.add(
            &Path::new(["credentials", name, "header"]),
            format!("{written:?}"),
            "the name of a header field, such as \"x-id-token\"",
        );
    }
    header
}

/// Further parameters; those that gatepass sets itself cannot be overridden.
fn parameters(
    written: BTreeMap<String, SecretSource>,
    path: &Path,
    report: &mut Report,
) -> Option<Vec<(String, Secret)>> {
    let resolved: Vec<_> = written
        .into_iter()
        .map(|(name, source)| {
            let path = path.key(&name);
            if RESERVED_PARAMETERS.contains(&name.as_str()) {
                report.add(
                    &path,
                    "a parameter that gatepass sets itself",
                    "its own key beside this table, if there is one",
                );
                return None;
            }
            let secret = secret::resolve(source, &path, "a plain string", report)?;
            Some((name, secret))
        })
        .collect();
    resolved.into_iter().collect()
}

/// A name, a JSON pointer, or the word for a body that is the token.
fn token_location(
    written: Option<String>,
    path: &Path,
    report: &mut Report,
) -> Option<TokenLocation> {
    let Some(written) = written else {
        return Some(TokenLocation::default());
    };
    if written.is_empty() {
        report.add(path, "an empty string", TOKEN_FIELD);
        return None;
    }
    Some(match written.as_str() {
        "." => TokenLocation::WholeBody,
        pointer if pointer.starts_with('/') => TokenLocation::Json(written),
        name => TokenLocation::Json(format!("/{name}")),
    })
}

/// RFC 9110 §11.1: "auth-scheme = token".
fn scheme(written: Option<String>, path: &Path, report: &mut Report) -> Option<String> {
    let scheme = written.unwrap_or_else(|| "Bearer".into());
    let legal = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if !scheme.chars().all(legal) {
        report.add(
            path,
            format!("{scheme:?}"),
            "one word, such as \"Bearer\", or \"\" for none",
        );
        return None;
    }
    Some(scheme)
}

const BODY_FORMATS: [(&str, BodyFormat); 2] =
    [("form", BodyFormat::Form), ("json", BodyFormat::Json)];

/// Fields of a token request that gatepass sets itself.
const OWN_HEADERS: [&str; 6] = [
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
];

const TOKEN_FIELD: &str = "a name such as \"id_token\", a JSON pointer such as \"/data/token\", \
                           or \".\" if the whole body is the token";

const REFUSED_BY: [(&str, RefusedBy); 3] = [
    ("always", RefusedBy::Any401),
    ("invalid_token", RefusedBy::InvalidToken),
    ("never", RefusedBy::Nothing),
];

/// One a second is what the refresher does at most.
const MOST_REFRESHES: usize = 60;

const SECRET_KEYS: [&str; 3] = ["client_secret", "client_secret_file", "client_secret_env"];

const CLIENT_ID: &str = "the identifier that the provider gave this client";
const CLIENT_SECRET: &str = "client_secret_file = \"…\", client_secret_env = \"…\" or \
                             client_secret = \"…\", with the secret that the provider gave this client";

/// Shorter than what providers usually grant: a token that lives longer is only refreshed early.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(300);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
