//! Values that may be secret, wherever they are kept. None of them is ever shown.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::path::{Component, PathBuf};

use http::HeaderName;
use secrecy::ExposeSecret;

use super::super::decode::{Path, Report};
use super::super::scalar::SecretSource;
use crate::oauth::Secret;

/// Makes sure that a secret can be had. `plainly` is how one writes the secret itself.
pub(super) fn resolve(
    source: SecretSource,
    path: &Path,
    plainly: &str,
    report: &mut Report,
) -> Option<Secret> {
    match source {
        SecretSource::Value(value) if value.expose_secret().is_empty() => {
            report.add(path, "an empty string", "a value that is not empty");
            None
        }
        SecretSource::Value(value) => Some(Secret::Value(value)),
        SecretSource::File(file) => from_file(file, path, plainly, report),
        SecretSource::Variable(name) => from_variable(&name, path, plainly, report),
    }
}

/// Header fields by name, but for those in `reserved`. Those that cannot be are reported, and `None`.
pub(super) fn headers(
    written: BTreeMap<String, SecretSource>,
    reserved: &[&str],
    path: &Path,
    report: &mut Report,
) -> Vec<Option<(HeaderName, Secret)>> {
    let mut seen = BTreeSet::new();
    let mut header = |written: String, source| {
        let path = path.key(&written);
        let Ok(name) = HeaderName::try_from(&written) else {
            report.add(
                &path,
                "a name that no header field can have",
                "a field's name",
            );
            return None;
        };
        if reserved.contains(&name.as_str()) {
            report.add(&path, "a field that gatepass sets itself", "another field");
            return None;
        }
        if !seen.insert(name.as_str().to_owned()) {
            report.add(&path, "a field that stands here twice", "each field once");
            return None;
        }
        Some((name, resolve(source, &path, "a plain string", report)?))
    };
    written
        .into_iter()
        .map(|(name, source)| header(name, source))
        .collect()
}

fn from_file(file: String, path: &Path, plainly: &str, report: &mut Report) -> Option<Secret> {
    let secret = Secret::File(PathBuf::from(&file));
    let Err(error) = secret.read_blocking() else {
        return Some(secret);
    };
    if is_surely_a_path(&file) {
        report.add(
            path,
            error.to_string(),
            "a readable file that holds the secret",
        );
    } else {
        report.add(
            path,
            "a path that does not exist (not shown: it might be the secret itself)",
            format!("the path of a readable file; a secret itself is written as {plainly}"),
        );
    }
    None
}

/// Base64 has slashes, too: what begins with no directory that exists may be the secret itself.
fn is_surely_a_path(file: &str) -> bool {
    let path = std::path::Path::new(file);
    let mut parts = path.components();
    let Some(first) = parts.find(|part| !matches!(part, Component::RootDir)) else {
        return true;
    };
    let beginning = if path.is_absolute() {
        std::path::Path::new("/").join(first)
    } else {
        PathBuf::from(first.as_os_str())
    };
    beginning.exists()
}

fn from_variable(name: &str, path: &Path, plainly: &str, report: &mut Report) -> Option<Secret> {
    match env::var(name) {
        Ok(value) if !value.is_empty() => return Some(Secret::Value(value.into())),
        _ => {}
    }
    // Secrets of capitals and digits are common; names without an underscore are not.
    let usual = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    if name.contains('_') && name.chars().all(usual) {
        report.add(
            path,
            format!("{name}, which is not set or empty"),
            "the name of an environment variable that holds the secret",
        );
    } else {
        report.add(
            path,
            "the name of no variable that is set (not shown: it might be the secret itself)",
            format!("the name of an environment variable; a secret itself is written as {plainly}"),
        );
    }
    None
}
