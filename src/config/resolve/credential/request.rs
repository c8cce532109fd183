//! What a token request says beside the grant and the client.

use std::collections::BTreeMap;

use super::super::super::decode::{Path, Report};
use super::super::super::raw;
use super::super::super::scalar::{OneOrMany, SecretSource};
use super::super::{choice, secret};
use crate::oauth::{BodyFormat, RESERVED_PARAMETERS, RequestSettings, Secret};

pub(super) fn request(
    raw: &mut raw::Credential,
    path: &Path,
    report: &mut Report,
) -> Option<RequestSettings> {
    let separator = raw.scope_separator.as_deref().unwrap_or(" ");
    let scope = scope(raw.scope.take(), separator, &path.key("scope"), report);
    let written = std::mem::take(&mut raw.parameters);
    let parameters = parameters(written, &path.key("parameters"), report);
    let written = std::mem::take(&mut raw.headers);
    let headers = secret::headers(written, &OWN_HEADERS, &path.key("headers"), report);
    let body_format = choice(
        raw.body_format.as_deref(),
        &BODY_FORMATS,
        &path.key("body_format"),
        report,
    );
    let audience = raw.audience.take();
    Some(RequestSettings {
        scope: scope?,
        audience: audience.filter(|audience| !audience.is_empty()),
        resource: raw.resource.take().unwrap_or_default().0,
        parameters: parameters?,
        headers: headers.into_iter().collect::<Option<_>>()?,
        body_format: body_format?.unwrap_or_default(),
    })
}

/// `Some(None)` if none is asked for: some providers refuse an empty scope, so it is left out.
fn scope(
    written: Option<OneOrMany>,
    separator: &str,
    path: &Path,
    report: &mut Report,
) -> Option<Option<String>> {
    let joined = written.unwrap_or_default().0.join(" ");
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
            let secret = secret::resolve(source, &path, "is written as a plain string", report)?;
            Some((name, secret))
        })
        .collect();
    resolved.into_iter().collect()
}

pub(super) const BODY_FORMATS: [(&str, BodyFormat); 2] =
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
