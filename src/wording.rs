//! How operators are told things: errors in one form, and the words of others without what would
//! steer a terminal, and without secrets.

mod confidential;

use std::error::Error;
use std::fmt;
use std::time::Duration;

pub use confidential::Confidential;

/// An error as a command prints it: what failed and on what, why, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What failed, and on what.
    pub what: String,
    /// Why.
    pub why: String,
    /// What to do next.
    pub next: String,
}

impl Trouble {
    /// Puts the parts together.
    pub fn new(what: impl Into<String>, why: impl fmt::Display, next: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            why: why.to_string(),
            next: next.into(),
        }
    }

    /// As a sentence, for a log.
    pub fn in_one_line(&self) -> String {
        let Self { what, why, next } = self;
        format!("{what}: {why}; {next}")
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        labelled(f, "why", &self.why)?;
        labelled(f, "next", &self.next)
    }
}

/// A line below the one that says what failed; further lines of the text stand below its first.
///
/// # Errors
///
/// Those of the formatter.
pub fn labelled(f: &mut fmt::Formatter<'_>, label: &str, text: &str) -> fmt::Result {
    let text = text.trim_end().replace('\n', &format!("\n{:COLUMN$}", ""));
    write!(f, "\n    {label:WIDTH$}{text}")
}

/// Text of others without what would steer a terminal or hide what stands beside it.
pub fn harmless(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
            || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
    };
    let mut harmless = String::new();
    for c in text.chars() {
        match steers(c) {
            true => harmless.extend(c.escape_unicode()),
            false => harmless.push(c),
        }
    }
    harmless
}

/// A length of time as people read it: fractions of a second tell them nothing.
pub fn in_seconds(length: Duration) -> impl fmt::Display {
    humantime::format_duration(Duration::from_secs(length.as_secs()))
}

/// What an error comes from in the end. The outer ones repeat what the message says already; the innermost
/// one is the news.
pub fn innermost(error: &dyn Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    without_pages(error)
}

/// What to do where no file and no socket can be opened any more, if that is what an error says.
pub fn out_of_descriptors(cause: &str) -> Option<&'static str> {
    let is_out = cause.contains("Too many open files");
    is_out.then_some(RAISE_OPEN_FILES)
}

/// What to do where the limit of open files is reached.
pub const RAISE_OPEN_FILES: &str = "raise the limit of open files (ulimit -n, LimitNOFILE)";

/// The words of an error of a library, without the address of a page for those who write programs with it.
pub fn without_pages(error: &dyn Error) -> String {
    let mut said = error.to_string();
    if let Some(address) = said.find(": https://docs.rs/") {
        said.truncate(address);
    }
    said
}

/// Of the labels, and where the texts beside them begin.
const WIDTH: usize = 10;
const COLUMN: usize = 4 + WIDTH;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_spelt_out() {
        let text = "a\u{1b}[31mé\u{202e}\u{9b}\u{61c}\u{e0041}";
        let spelt_out = "a\\u{1b}[31mé\\u{202e}\\u{9b}\\u{61c}\\u{e0041}";
        assert_eq!(harmless(text), spelt_out);
    }

    #[test]
    fn a_librarys_own_pages_are_left_out() {
        let error = std::io::Error::other("peer closed: https://docs.rs/rustls/index.html#eof");
        assert_eq!(innermost(&error), "peer closed");
    }

    #[test]
    fn an_error_has_one_form() {
        let trouble = Trouble::new("no tea for \"guest\"", "no water\nno leaves", "wait");
        insta::assert_snapshot!(trouble, @r#"
        no tea for "guest"
            why       no water
                      no leaves
            next      wait
        "#);
        let line = trouble.in_one_line();
        assert_eq!(line, "no tea for \"guest\": no water\nno leaves; wait");
    }
}
