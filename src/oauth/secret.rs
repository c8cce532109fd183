//! A secret, by its value or by where it is kept.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::ordinary_file;
use crate::runtime::Disk;

/// A secret of the configuration. `Debug` shows where it comes from and never the value.
#[derive(Clone)]
pub enum Secret {
    /// The value itself.
    Value(SecretString),
    /// A file that holds it. It is read again at each use, because Kubernetes and others rotate
    /// secrets by replacing the file. Its disk may hang.
    File(PathBuf, Disk),
}

impl Secret {
    /// Names a file; nothing is read yet.
    pub fn in_file(path: impl Into<PathBuf>) -> Self {
        Self::File(path.into(), Disk::default())
    }

    /// The file that holds it, if one does.
    pub fn file(&self) -> Option<PathBuf> {
        match self {
            Self::Value(_) => None,
            Self::File(path, _) => Some(path.clone()),
        }
    }

    /// The value at this moment.
    ///
    /// # Errors
    ///
    /// The file cannot be read or holds nothing that could be a secret.
    pub async fn read(&self) -> Result<SecretString, SecretError> {
        match self {
            Self::Value(value) => Ok(value.clone()),
            Self::File(path, disk) => read_dated(path, disk).await.map(|(secret, _)| secret),
        }
    }

    /// The same for use before anything runs: it blocks.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub fn read_blocking(&self) -> Result<SecretString, SecretError> {
        match self {
            Self::Value(value) => Ok(value.clone()),
            Self::File(path, _) => read_file(path).map(|(secret, _)| secret),
        }
    }
}

/// What a file holds, and when it was written.
pub(super) async fn read_dated(
    path: &Path,
    disk: &Disk,
) -> Result<(SecretString, SystemTime), SecretError> {
    let file = path.to_owned();
    let read = disk.work(move || read_file(&file)).await;
    read.unwrap_or_else(|error| Err(SecretError::unreadable(path, &error)))
}

fn read_file(path: &Path) -> Result<(SecretString, SystemTime), SecretError> {
    let read = || {
        let beyond = LARGEST_FILE as u64 + 1;
        let (mut file, metadata) = ordinary_file::open(path, beyond)?;
        // With room for all of it at once: a buffer that grows leaves copies behind.
        let size = usize::try_from(metadata.len().min(beyond)).unwrap_or_default();
        let mut bytes = Zeroizing::new(Vec::with_capacity(size + 1));
        file.read_to_end(&mut bytes)?;
        Ok((bytes, metadata.modified()?))
    };
    let (bytes, written) = read().map_err(|error| SecretError::unreadable(path, &error))?;
    Ok((from_file(path, &bytes)?, written))
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(_) => f.write_str("Secret(•••)"),
            Self::File(path, _) => write!(f, "Secret(••• from {})", path.display()),
        }
    }
}

/// Editors and `echo` end a file with a line break that is not part of the secret. Only that is
/// taken off: a secret may well begin or end with a space.
fn from_file(path: &Path, bytes: &[u8]) -> Result<SecretString, SecretError> {
    let fault = |what: &str| SecretError {
        path: path.to_owned(),
        what: what.to_owned(),
    };
    if bytes.len() > LARGEST_FILE {
        return Err(fault("is larger than 64 KiB, which no secret is"));
    }
    let text = str::from_utf8(bytes).map_err(|_| fault("is not text in UTF-8"))?;
    // Some editors begin a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let secret = text.trim_end_matches(['\n', '\r']);
    if secret.is_empty() {
        return Err(fault("is empty"));
    }
    Ok(SecretString::from(secret))
}

/// What hardly any value that may be secret has, and what is sent as a part of it all the same. Keys in
/// PEM form and in JSON have lines.
pub fn oddity(secret: &SecretString) -> Option<&'static str> {
    let secret = secret.expose_secret();
    if secret.starts_with("-----BEGIN ") || secret.starts_with('{') {
        None
    } else if secret.contains(['\n', '\r']) {
        Some("has a line break")
    } else if secret.trim() != secret {
        Some("begins or ends with a space")
    } else if secret.contains(is_unseen) {
        Some("has a character that nobody sees")
    } else {
        None
    }
}

/// What terminals take for a command, and what pages and documents put between letters: soft hyphens,
/// spaces and joiners without width, marks of direction, byte order marks.
fn is_unseen(c: char) -> bool {
    let is_of_format = matches!(
        c,
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}'
    );
    c.is_control() || is_of_format
}

/// What is around a secret that was copied with it. Header fields and parameters may well have that.
pub fn wrapping(secret: &SecretString) -> Option<&'static str> {
    let secret = secret.expose_secret().trim();
    let is_quoted_by =
        |quote| secret.len() > 2 && secret.starts_with(quote) && secret.ends_with(quote);
    if ['"', '\''].into_iter().any(is_quoted_by) {
        Some("has a pair of quotation marks around it")
    } else if secret.starts_with('{') && secret.ends_with('}') && secret.contains("\":") {
        Some("has JSON around it")
    } else if begins_with_a_name(secret) {
        Some("has a name before it")
    } else {
        None
    }
}

/// Whether a text is like `CLIENT_SECRET=…`. What is of letters alone and ends with one of these words
/// is hardly the beginning of anything random.
fn begins_with_a_name(text: &str) -> bool {
    let Some((name, value)) = text.split_once(['=', ':']) else {
        return false;
    };
    let name = name.trim().to_ascii_lowercase();
    let is_name = name
        .chars()
        .all(|c| c.is_ascii_lowercase() || matches!(c, '_' | '-' | ' '));
    let is_of_secret = NAMES_END_WITH.iter().any(|end| name.ends_with(end));
    is_name && is_of_secret && !value.trim().is_empty()
}

const NAMES_END_WITH: [&str; 4] = ["secret", "password", "token", "key"];

/// Why a secret cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} {what}", path.display())]
pub struct SecretError {
    /// The file that should hold it.
    pub path: PathBuf,
    /// What is wrong with the file.
    pub what: String,
}

impl SecretError {
    fn unreadable(path: &Path, error: &io::Error) -> Self {
        Self {
            path: path.to_owned(),
            what: match error.kind() {
                io::ErrorKind::NotFound => "does not exist".into(),
                io::ErrorKind::PermissionDenied => {
                    "cannot be read: permission denied for the user that runs gatepass".into()
                }
                _ => format!("cannot be read: {error}"),
            },
        }
    }
}

const LARGEST_FILE: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hardly_any_secret_has() {
        for (secret, oddity) in [
            ("s3cret", None),
            ("two words", None),
            ("s3cret\n", Some("has a line break")),
            ("one\r\ntwo", Some("has a line break")),
            (" s3cret", Some("begins or ends with a space")),
            ("s3cret\t", Some("begins or ends with a space")),
            ("s3\u{1b}[Dcret", Some("has a character that nobody sees")),
            ("s3cret\u{200b}", Some("has a character that nobody sees")),
            ("geheimnißvoll", None),
            ("-----BEGIN PRIVATE KEY-----\nabc\n", None),
            ("{\n}", None),
        ] {
            assert_eq!(super::oddity(&secret.into()), oddity, "{secret:?}");
        }
    }

    #[test]
    fn what_is_copied_with_a_secret() {
        for (secret, wrapping) in [
            ("s3cret", None),
            ("\"s3cret", None),
            ("\"", None),
            ("s3cret==", None),
            ("c2VjcmV0=", None),
            ("secret=", None),
            ("a8Kq:client_secret", None),
            ("{s3cret}", None),
            ("-----BEGIN PRIVATE KEY-----\nabc=\n", None),
            (
                "\"s3cret\"",
                Some("has a pair of quotation marks around it"),
            ),
            ("'s3cret'", Some("has a pair of quotation marks around it")),
            ("client_secret=s3cret", Some("has a name before it")),
            ("CLIENT_SECRET = s3cret", Some("has a name before it")),
            ("export API_KEY=s3cret", Some("has a name before it")),
            ("Password: s3cret", Some("has a name before it")),
            ("{\"client_secret\":\"s3cret\"}", Some("has JSON around it")),
            ("{\n  \"a\": \"s3cret\"\n}", Some("has JSON around it")),
        ] {
            assert_eq!(super::wrapping(&secret.into()), wrapping, "{secret:?}");
        }
    }

    #[test]
    fn only_the_line_break_at_the_end_is_taken_off() {
        for (content, secret) in [
            ("s3cret\n", "s3cret"),
            ("s3cret\r\n", "s3cret"),
            (" s3cret ", " s3cret "),
            ("12345", "12345"),
            ("\u{feff}12345\r\n", "12345"),
            ("a+b%c:d/e=\n", "a+b%c:d/e="),
        ] {
            let read = from_file(Path::new("f"), content.as_bytes()).unwrap();
            assert_eq!(read.expose_secret(), secret);
        }
    }

    #[test]
    fn what_is_no_secret_is_refused_without_showing_it() {
        let error = |bytes: &[u8]| from_file(Path::new("f"), bytes).unwrap_err();
        assert_eq!(error(b"\n").to_string(), "f is empty");
        assert_eq!(error(b"\xff\xfe").to_string(), "f is not text in UTF-8");
        assert!(
            error(&[b'x'; LARGEST_FILE + 1])
                .to_string()
                .contains("64 KiB")
        );
    }

    #[test]
    fn what_is_no_ordinary_file_is_told() {
        let error = read_file(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(error.what, "cannot be read: it is no ordinary file");
    }

    #[test]
    fn debug_output_hides_the_value() {
        let secret = Secret::Value("s3cret".into());
        assert_eq!(format!("{secret:?}"), "Secret(•••)");
    }
}
