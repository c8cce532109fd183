//! Header fields that a route sets and takes off.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};
use secrecy::ExposeSecret;

use super::super::super::decode::{Path, Report};
use super::super::super::scalar::{OneOrMany, SecretSource};
use super::super::secret;

/// Read once: their values are part of every request's head, ready to be copied.
pub(in super::super) fn values(
    written: BTreeMap<String, SecretSource>,
    token_header: Option<&HeaderName>,
    path: &Path,
    report: &mut Report,
) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let mut reserved = OWN_HEADERS.to_vec();
    reserved.extend(token_header.map(HeaderName::as_str));
    let resolved = secret::headers(written, &reserved, path, report);
    let mut values = Vec::new();
    for header in &resolved {
        let Some((name, value)) = header else {
            continue;
        };
        let value = secret::read_once(value, report).ok();
        let value = value.and_then(|value| HeaderValue::from_str(value.expose_secret()).ok());
        match value {
            Some(mut value) => {
                value.set_sensitive(true);
                values.push((name.clone(), value));
            }
            None => report.add(
                &path.key(name),
                "a value that cannot stand in a header (not shown)",
                "a value without line breaks and control characters",
            ),
        }
    }
    (values.len() == resolved.len()).then_some(values)
}

/// Names of fields that are taken off.
pub(super) fn names(
    written: Option<OneOrMany>,
    token_header: Option<&HeaderName>,
    path: &Path,
    report: &mut Report,
) -> Option<Vec<HeaderName>> {
    let written = written.unwrap_or_default().0;
    let (mut names, mut are_good) = (Vec::new(), true);
    for text in written {
        let name = HeaderName::try_from(&text).ok();
        let own =
            |name: &HeaderName| OWN_HEADERS.contains(&name.as_str()) || token_header == Some(name);
        match name.filter(|name| !own(name)) {
            Some(name) => names.push(name),
            None => {
                let expected = "names of header fields that gatepass does not set itself";
                report.add(path, format!("{text:?}"), expected);
                are_good = false;
            }
        }
    }
    are_good.then_some(names)
}

/// Fields that gatepass sets itself or that belong to one connection.
pub(in super::super) const OWN_HEADERS: [&str; 10] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
