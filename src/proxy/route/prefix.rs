//! Paths that a route covers.

use std::fmt;

/// A path prefix that ends on a segment boundary: `/a` covers `/a` and `/a/b` but not `/ab`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathPrefix(String);

impl PathPrefix {
    /// Takes a prefix as it is written in the configuration. A slash at its end means nothing.
    ///
    /// # Errors
    ///
    /// It does not begin with a slash, or holds what is not part of a path.
    pub fn new(path: &str) -> Result<Self, InvalidPrefix> {
        let legal = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'*');
        if !path.starts_with('/') || !path.bytes().all(legal) {
            return Err(InvalidPrefix);
        }
        Ok(Self(path.trim_end_matches('/').to_owned()))
    }

    /// The prefix; `/` if it covers everything.
    pub fn as_str(&self) -> &str {
        if self.0.is_empty() { "/" } else { &self.0 }
    }

    pub(in super::super) fn covers(&self, path: &str) -> bool {
        self.rest_of(path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            // `*` and the authority of CONNECT are no paths.
            && path.starts_with('/')
    }

    /// What follows the prefix in a path (or path and query) that it covers.
    pub(in super::super) fn rest_of<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(self.0.as_str())
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A path prefix that cannot match any request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a path that begins with / and holds no space, ?, # or *; it covers everything below it by itself"
)]
pub struct InvalidPrefix;

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(prefix: &str, path: &str) -> bool {
        PathPrefix::new(prefix).unwrap().covers(path)
    }

    #[test]
    fn a_prefix_ends_on_a_segment_boundary() {
        for path in ["/connect", "/connect/", "/connect/a/b", "/connect//"] {
            assert!(covers("/connect", path), "{path}");
            assert!(covers("/connect/", path), "{path}");
            assert!(covers("/", path), "{path}");
        }
        for path in [
            "/",
            "/connected",
            "/conne",
            "/a/connect",
            "/Connect",
            "*",
            "",
        ] {
            assert!(!covers("/connect", path), "{path}");
        }
        assert!(!covers("/", "*"));
        assert!(!covers("/", ""));
    }

    #[test]
    fn what_is_no_path_is_no_prefix() {
        for path in ["", "connect", "/a b", "/a?b", "/a#b", "/a/*", "/ä", "/a\n"] {
            assert_eq!(PathPrefix::new(path), Err(InvalidPrefix), "{path}");
        }
    }
}
