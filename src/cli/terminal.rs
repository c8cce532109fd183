//! What is different where a person looks.

use std::io::{self, IsTerminal, Write};

use crate::telemetry::takes_colours;

/// Colours, where they may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Palette(bool);

impl Palette {
    /// That of standard output.
    pub(super) fn of_stdout() -> Self {
        Self(takes_colours(&io::stdout()))
    }

    /// What is as it should be.
    pub(super) fn good(self, text: &str) -> String {
        self.painted("32", text)
    }

    /// What needs to be looked at.
    pub(super) fn doubtful(self, text: &str) -> String {
        self.painted("33", text)
    }

    /// What does not work.
    pub(super) fn bad(self, text: &str) -> String {
        self.painted("31", text)
    }

    /// What stands above others.
    pub(super) fn heading(self, text: &str) -> String {
        self.painted("1", text)
    }

    fn painted(self, style: &str, text: &str) -> String {
        match self.0 {
            true => format!("\x1b[{style}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

/// Says what is going on, to a person who would otherwise look at nothing.
pub(super) fn progress(what: &str) {
    if io::stderr().is_terminal() {
        let _ = writeln!(io::stderr(), "{what}");
    }
}

/// Text of others without what would steer a terminal or hide what stands beside it.
pub(super) fn harmless(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_spelt_out() {
        let text = "a\u{1b}[31mé\u{202e}\u{9b}";
        assert_eq!(harmless(text), "a\\u{1b}[31mé\\u{202e}\\u{9b}");
    }
}
