//! What is different where a person looks.

use std::io::{self, Write};

use rustix::termios::tcgetwinsize;

use super::failure::Failure;
use crate::telemetry::takes_colours;

/// Colours, where they may be.
#[derive(Debug, Clone, Copy, Default)]
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

/// How many characters stand in a line of standard output, where that is a terminal that knows it.
pub(super) fn columns_of_stdout() -> Option<usize> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    Some(size.ws_col.into()).filter(|columns| *columns > 0)
}

/// Prints what was asked for.
pub(super) fn print_out(text: &str) -> Result<(), Failure> {
    printed(io::stdout().write_all(text.as_bytes()))
}

/// Whether what was asked for has been printed. Whoever reads no further has enough.
pub(super) fn printed(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed.map_err(Failure::Unprinted),
    }
}
