//! Values that may be secret, wherever they are kept. None of them is ever shown.

use std::collections::{BTreeMap, BTreeSet};
use std::env::{self, VarError};
use std::path::{Component, PathBuf};

use http::HeaderName;
use secrecy::{ExposeSecret, SecretString};

use super::super::decode::{Path, Report};
use super::super::layers::NOT_UTF_8;
use super::super::scalar::SecretSource;
use crate::oauth::secret::SecretError;
use crate::oauth::{self, Secret};

/// Makes sure that a secret can be had. `plainly` says where the secret itself goes.
pub(super) fn resolve(
    source: SecretSource,
    path: &Path,
    plainly: &str,
    report: &mut Report,
) -> Option<Secret> {
    let (secret, value) = source_of(source, path, plainly, report)?;
    suspect(&secret, oauth::oddity(&value), path, report);
    Some(secret)
}

/// Warns of what editors, `echo` and copying leave in a secret.
fn suspect(secret: &Secret, oddity: Option<&'static str>, path: &Path, report: &mut Report) {
    let Some(oddity) = oddity else {
        return;
    };
    let what = match secret {
        Secret::Value(_) => "the secret".into(),
        Secret::File(file, _) => format!("the secret in {}", file.display()),
    };
    report.warn(format!(
        "{path}: {what} {oddity} that is sent as a part of it; if it is not meant, write it anew with \
         nothing but the secret (into a file with printf %s)"
    ));
}

/// The secret, and its value at this moment.
fn source_of(
    source: SecretSource,
    path: &Path,
    plainly: &str,
    report: &mut Report,
) -> Option<(Secret, SecretString)> {
    match source {
        SecretSource::Value(value) if value.expose_secret().is_empty() => {
            report.add(path, "an empty string", "a value that is not empty");
            None
        }
        SecretSource::Value(value) => {
            // What a preset fills in stands in no file.
            if report.is_written(path) && !report.is_from_environment(path) {
                report.secret_in(path, None);
            }
            Some((Secret::Value(value.clone()), value))
        }
        SecretSource::File(file) => from_file(file, path, plainly, report),
        SecretSource::Variable(name) => {
            let value = from_variable(&name, path, plainly, report)?;
            Some((Secret::Value(value.clone()), value))
        }
    }
}

/// A secret as the three keys that it can be written with.
pub(super) struct Keys {
    /// `NAME`: the secret itself. `NAME_file` and `NAME_env` say where it is kept.
    pub(super) name: &'static str,
    pub(super) value: Option<SecretString>,
    pub(super) file: Option<String>,
    pub(super) variable: Option<String>,
}

impl Keys {
    /// Which of them are written.
    fn written(&self, table: &Path, report: &Report) -> Vec<String> {
        let Self { name, .. } = self;
        let keys = [
            (*name).to_owned(),
            format!("{name}_file"),
            format!("{name}_env"),
        ];
        let mut written: Vec<_> = keys
            .into_iter()
            .filter(|key| report.is_written(&table.key(key)))
            .collect();
        // A variable goes over the file, also where the file has another of the three keys.
        let from_environment = |key: &String| report.is_from_environment(&table.key(key));
        if let Some(over) = written.iter().position(from_environment) {
            written = vec![written.swap_remove(over)];
        }
        written
    }

    /// Makes sure that the secret can be had. `Some(None)` if none of the keys is written.
    pub(super) fn resolve(self, table: &Path, report: &mut Report) -> Option<Option<Secret>> {
        let written = self.written(table, report);
        let key = match written.as_slice() {
            [] => return Some(None),
            [only] => only,
            several => {
                report.add(table, several.join(" and "), "only one of them");
                return None;
            }
        };
        let source = match key.strip_prefix(self.name) {
            Some("_file") => SecretSource::File(self.file?),
            Some("_env") => SecretSource::Variable(self.variable?),
            _ => SecretSource::Value(self.value?),
        };
        let plainly = match report.flag(&table.key(key)) {
            Some(_) => format!(
                "goes into a file, or into {}",
                table.key(self.name).variable()
            ),
            None => format!("is written as {} = \"…\"", self.name),
        };
        let path = table.key(key);
        let (secret, value) = source_of(source, &path, &plainly, report)?;
        let oddity = oauth::wrapping(&value).or_else(|| oauth::oddity(&value));
        suspect(&secret, oddity, &path, report);
        Some(Some(secret))
    }

    /// The same for a secret that must be there; `what` says what it is.
    pub(super) fn required(self, table: &Path, what: &str, report: &mut Report) -> Option<Secret> {
        let name = self.name;
        let resolved = self.resolve(table, report)?;
        if resolved.is_none() {
            let key = table.key(format!("{name}_file"));
            let expected = match report.flag(&key) {
                Some(flag) => format!("{flag} FILE, with {what}"),
                None => format!(
                    "{name}_file = \"…\", {name}_env = \"…\" or {name} = \"…\", with {what}"
                ),
            };
            report.add(&key, "nothing", expected);
        }
        resolved
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
        Some((
            name,
            resolve(source, &path, "is written as a plain string", report)?,
        ))
    };
    written
        .into_iter()
        .map(|(name, source)| header(name, source))
        .collect()
}

const HOLDS_SECRET: &str = "the name of an environment variable that holds the secret";

/// What is expected of the path of a file that may be written later.
pub const FILE_TO_COME: &str =
    "the path of a file, with ./ before it if it will be in this directory";

/// What is said of a path that may be the token itself.
pub(super) const NO_SURE_TOKEN_PATH: &str =
    "a path that does not exist (not shown: it might be the token itself)";

/// A file that somebody else writes, perhaps later than gatepass starts.
pub(super) fn file_of_others(file: String, path: &Path, report: &mut Report) -> Option<Secret> {
    refuse_unexpanded(&file, path, report)?;
    if !is_surely_a_path(&file) {
        report.add(path, NO_SURE_TOKEN_PATH, FILE_TO_COME);
        return None;
    }
    report.secret_in(path, Some(PathBuf::from(&file)));
    let secret = Secret::in_file(file);
    if let Err(error) = secret.read_blocking() {
        report.warn(format!("{path}: {error}, and is awaited"));
    }
    Some(secret)
}

/// A key in a file, which is too long to be written anywhere else.
pub(super) fn key_file(file: String, path: &Path, report: &mut Report) -> Option<Secret> {
    let read = from_file(file, path, "goes into a file of its own", report);
    read.map(|(secret, _)| secret)
}

/// Makes sure that a value can be had that is part of the settings: it is read once.
pub(super) fn read_once(secret: &Secret, report: &mut Report) -> Result<SecretString, SecretError> {
    if let Some(file) = secret.file() {
        report.reads(file);
    }
    secret.read_blocking()
}

fn from_file(
    file: String,
    path: &Path,
    plainly: &str,
    report: &mut Report,
) -> Option<(Secret, SecretString)> {
    let read = readable(file, path, plainly, report)?;
    report.secret_in(path, read.0.file());
    Some(read)
}

pub(super) fn readable(
    file: String,
    path: &Path,
    plainly: &str,
    report: &mut Report,
) -> Option<(Secret, SecretString)> {
    report.needs(&file);
    let secret = Secret::in_file(&file);
    let error = match secret.read_blocking() {
        Ok(value) => return Some((secret, value)),
        Err(error) => error,
    };
    refuse_unexpanded(&file, path, report)?;
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
            format!("the path of a readable file; a secret itself {plainly}"),
        );
    }
    None
}

/// A shell replaces `~` and variables in what is typed, and nobody does in a file.
pub(super) fn refuse_unexpanded(file: &str, path: &Path, report: &mut Report) -> Option<()> {
    let Some(beginning) = unexpanded(file) else {
        return Some(());
    };
    let found = format!("a path that begins with {beginning}, which only shells replace");
    report.add(path, found, "the full path, such as /home/NAME/…");
    None
}

/// What a shell would have replaced at the beginning of a path that is not there. A variable is not
/// shown: what looks like one may be the secret itself.
pub(in super::super) fn unexpanded(file: &str) -> Option<&'static str> {
    let (first, _) = file.split_once('/')?;
    let is_there = std::path::Path::new(first).exists();
    match first {
        _ if is_there => None,
        "$HOME" | "${HOME}" => Some("$HOME"),
        _ if first.starts_with('~') => Some("~"),
        _ if first.starts_with('$') => Some("a variable"),
        _ => None,
    }
}

/// Whether a text is the path of a file that is there or may come, and no secret in its place: Base64 has
/// slashes, too, but hardly begins with a directory that exists.
pub fn is_surely_a_path(file: &str) -> bool {
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

fn from_variable(
    name: &str,
    path: &Path,
    plainly: &str,
    report: &mut Report,
) -> Option<SecretString> {
    match env::var(name) {
        Ok(value) if !value.is_empty() => {
            report.secret_variables.insert(name.into());
            return Some(value.into());
        }
        Err(VarError::NotUnicode(_)) => {
            let found = format!("{name}, which holds {NOT_UTF_8}");
            report.add(path, found, HOLDS_SECRET);
            return None;
        }
        Ok(_) | Err(VarError::NotPresent) => {}
    }
    // Secrets of capitals and digits are common; names without an underscore are not.
    let usual = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    if name.contains('_') && name.chars().all(usual) {
        report.add(
            path,
            format!("{name}, which is not set or empty"),
            HOLDS_SECRET,
        );
    } else {
        report.add(
            path,
            "the name of no variable that is set (not shown: it might be the secret itself)",
            format!("the name of an environment variable; a secret itself {plainly}"),
        );
    }
    None
}
