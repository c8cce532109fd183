//! What the process's exit says: those of sysexits.h that gatepass uses, and what they mean.

use std::fmt::Write as _;

use clap_mangen::roff::{Roff, bold, roman};

pub(super) const DONE: u8 = 0;
pub(super) const USAGE: u8 = 64;
pub(super) const UNAVAILABLE: u8 = 69;
pub(super) const OUR_FAULT: u8 = 70;
pub(super) const CONFIG: u8 = 78;
/// As shells have it. POSIX, Shell Command Language §2.8.2: "If a command is not found, the exit status
/// shall be 127. If the command name is found, but it is not an executable utility, the exit status shall
/// be 126."
pub(super) const NOT_EXECUTABLE: u8 = 126;
pub(super) const NOT_FOUND: u8 = 127;

/// Below the help.
pub(super) fn in_help() -> String {
    let mut text = String::from("Exit codes:");
    for (code, meaning) in all() {
        let meaning = meaning.replace('\n', &format!("\n{:6}", ""));
        let _ = write!(text, "\n  {code:<3} {meaning}");
    }
    text
}

/// A section of a page for `man`.
pub(super) fn in_manual() -> String {
    let mut section = Roff::new();
    section.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in all() {
        section.control("TP", []);
        section.text([bold(code.trim_end_matches(':'))]);
        section.text([roman(meaning.replace('\n', " "))]);
    }
    section.to_roff()
}

/// Each with what it means.
fn all() -> impl Iterator<Item = (String, &'static str)> {
    let own = OWN.map(|(code, meaning)| (code.to_string(), meaning));
    let others = OF_OTHERS.map(|(code, meaning)| (code.to_owned(), meaning));
    own.into_iter().chain(others)
}

const OWN: [(u8, &str); 5] = [
    (DONE, "done"),
    (USAGE, "the command line is wrong"),
    (
        UNAVAILABLE,
        "something that is needed could not be had, such as an address to listen on, or readiness\n\
             in time; or doctor has found something broken",
    ),
    (OUR_FAULT, "a fault of gatepass"),
    (CONFIG, "the configuration is wrong"),
];

const OF_OTHERS: [(&str, &str); 2] = [
    (
        "128 + a signal's number:",
        "that signal came a second time and ended the process at once",
    ),
    (
        "exec:",
        "the exit code of its command, or 128 + the number of the signal that ended it or came before\n\
         its start; 127 if there is no such command, 126 if it cannot be executed",
    ),
];
