//! Mistakes in a configuration, and how they are told.

use std::fmt::{self, Write as _};

use super::flags::COMMAND_LINE;
use crate::wording::labelled;

/// One mistake: where it stands, what stands there, and what should.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, environment variable or flag that it comes from.
    pub source: String,
    /// The line of a file, and the column where it matters; counted from 1.
    pub line: Option<usize>,
    /// See `line`.
    pub column: Option<usize>,
    /// The key, such as `credentials.envase.scope`; empty if it is about the source as a whole.
    pub key: String,
    /// What was found; never a secret's value.
    pub found: String,
    /// What is needed instead.
    pub expected: String,
    /// The line itself with a mark, where that tells more than the key.
    pub excerpt: Option<String>,
}

impl Problem {
    /// One that is about a source as a whole.
    pub(super) fn of_source(
        source: impl Into<String>,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self {
            source: source.into(),
            line: None,
            column: None,
            key: String::new(),
            found: found.into(),
            expected: expected.into(),
            excerpt: None,
        }
    }

    fn is_by_flag(&self) -> bool {
        self.source.starts_with("--")
    }

    /// Where it is: `gatepass.toml:12: credentials.envase.scope`.
    fn place(&self) -> String {
        let mut place = self.source.clone();
        for number in [self.line, self.column].into_iter().flatten() {
            let _ = write!(place, ":{number}");
        }
        // A flag says all that its key would.
        if !self.key.is_empty() && !self.is_by_flag() {
            let _ = write!(place, ": {}", self.key);
        }
        place
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place())?;
        labelled(f, "found", &self.found)?;
        labelled(f, "expected", &self.expected)?;
        match &self.excerpt {
            Some(excerpt) => write!(f, "\n\n{excerpt}"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with a configuration; at least one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    pub(super) fn new(problems: Vec<Problem>) -> Self {
        Self(problems)
    }

    pub(super) fn one(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl Problems {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// Those that are left, as they are to be told; `None` if none is.
    pub fn filter_map(self, left: impl Fn(Problem) -> Option<Problem>) -> Option<Self> {
        let left: Vec<_> = self.0.into_iter().filter_map(left).collect();
        (!left.is_empty()).then_some(Self(left))
    }

    /// All of them, each told otherwise.
    pub fn map(self, otherwise: impl Fn(Problem) -> Problem) -> Self {
        Self(self.0.into_iter().map(otherwise).collect())
    }

    /// Whether what is wrong stands on the command line alone.
    pub fn are_of_the_command_line(&self) -> bool {
        let is_by_flag = |problem: &Problem| problem.is_by_flag() || problem.source == COMMAND_LINE;
        self.0.iter().all(is_by_flag)
    }

    /// All of them side by side, for a log.
    pub fn in_one_line(&self) -> String {
        let told = self.0.iter().map(|problem| {
            let Problem {
                found, expected, ..
            } = problem;
            format!("{}: found {found}, expected {expected}", problem.place())
        });
        told.collect::<Vec<_>>().join("; ")
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        let things = if count == 1 {
            "problem has"
        } else {
            "problems have"
        };
        let place = match self.are_of_the_command_line() {
            true => "on the command line",
            false => "in the configuration",
        };
        write!(
            f,
            "{count} {things} to be mended {place} before anything can run."
        )?;
        for problem in &self.0 {
            write!(f, "\n\n{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The known word that is so like `word` that it was probably meant.
pub(super) fn near_miss<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_are_near() {
        let known = [
            "listen",
            "workers",
            "timeouts",
            "client_secret_file",
            "client_secret",
        ];
        for (word, meant) in [
            ("lisen", Some("listen")),
            ("listne", Some("listen")),
            ("worker", Some("workers")),
            ("timeout", Some("timeouts")),
            ("client_secretfile", Some("client_secret_file")),
            ("clientsecret", Some("client_secret")),
            ("port", None),
            ("", None),
        ] {
            assert_eq!(near_miss(word, known), meant, "{word}");
        }
    }
}
