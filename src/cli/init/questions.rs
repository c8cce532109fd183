//! Questions on a terminal.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;

use clap::ValueEnum;
use rustix::termios::{
    LocalModes, OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcsetattr,
};
use serde::de::IgnoredAny;
use zeroize::Zeroizing;

use super::deployment::Deployment;
use super::{Failure, make_directory_of};
use crate::config::{Problem, presets};

/// Somebody who answers.
pub(super) struct Questions(());

impl Questions {
    /// `None` where nobody is there to answer.
    pub(super) fn where_somebody_is() -> Option<Self> {
        let somebody = io::stdin().is_terminal() && io::stdout().is_terminal();
        somebody.then_some(Self(()))
    }

    /// Who hands out tokens: a preset's name, or an address.
    pub(super) fn provider(&mut self) -> Result<String, Failure> {
        let known: Vec<_> = presets().collect();
        say(&format!(
            "Who hands out tokens? One of\n  {}\nor the address of a token endpoint or an issuer (https://…).\n",
            known.join(", ")
        ));
        self.required("provider")
    }

    /// The same again, after what is wrong with the answer, or which address was probably meant by it.
    pub(super) fn another_provider(
        &mut self,
        problem: &Problem,
        meant: Option<&str>,
    ) -> Result<String, Failure> {
        match meant {
            Some(address) => say_wrong("an address without https://", address),
            None => say_wrong(&problem.found, &problem.expected),
        }
        self.required("provider")
    }

    /// What a key is to be, after what is wrong with what it is.
    pub(super) fn about(&mut self, key: &str, problem: &Problem) -> Result<String, Failure> {
        if problem.found != "nothing" {
            say_wrong(&problem.found, &problem.expected);
        }
        if key.ends_with("_file") {
            let usual = format!("./{}", key.trim_end_matches("_file").replace('_', "-"));
            let question = format!("{key} (where the secret is kept, or will be) [{usual}]");
            return Ok(self.optional(&question)?.unwrap_or(usual));
        }
        match problem.found.as_str() {
            "nothing" => self.required(&format!("{key} ({})", problem.expected)),
            _ => self.required(key),
        }
    }

    /// Asks until there is an answer.
    fn required(&mut self, question: &str) -> Result<String, Failure> {
        loop {
            if let Some(answer) = self.optional(question)? {
                return Ok(answer);
            }
        }
    }

    /// Asks once; no answer is one.
    pub(super) fn optional(&mut self, question: &str) -> Result<Option<String>, Failure> {
        say(&format!("{question}: "));
        let mut answer = String::new();
        let read = io::stdin().lock().read_line(&mut answer)?;
        if read == 0 {
            say("\n");
            return Err(Failure::Unanswered);
        }
        let answer = answer.trim().to_owned();
        Ok(Some(answer).filter(|answer| !answer.is_empty()))
    }

    /// Asks whether something more is to be done. The end of input is a no: nothing depends on it.
    pub(super) fn yes(&mut self, question: &str) -> Result<bool, Failure> {
        let answer = match self.optional(&format!("{question} [Y/n]")) {
            Err(Failure::Unanswered) => return Ok(false),
            answered => answered?,
        };
        Ok(answer.is_none_or(|answer| answer.eq_ignore_ascii_case("y") || answer == "yes"))
    }

    /// Where gatepass is to be deployed, if that is known already. The end of input says that it is not.
    pub(super) fn deployment(&mut self) -> Result<Option<Deployment>, Failure> {
        let question = "Print what a deployment needs? kubernetes, systemd, or Enter for nothing";
        loop {
            let answer = match self.optional(question) {
                Ok(Some(answer)) => answer,
                Ok(None) | Err(Failure::Unanswered) => return Ok(None),
                Err(other) => return Err(other),
            };
            match Deployment::from_str(&answer, true) {
                Ok(deployment) => return Ok(Some(deployment)),
                Err(_) => say("  there are files for kubernetes and for systemd\n"),
            }
        }
    }

    /// Offers to write a secret into its file, which only this user can read.
    pub(super) fn secret_for(&mut self, file: &str) -> Result<(), Failure> {
        let question = format!(
            "{file} is not there. Paste the secret to have it written there (it is not shown), or press \
             Enter to do that yourself"
        );
        let silence = Silence::begin();
        say(&format!("{question}: "));
        let pasted = pasted();
        drop(silence);
        say("\n");
        let secret = pasted?;
        let secret = secret.trim();
        if secret.is_empty() {
            return Ok(());
        }
        make_directory_of(file)?;
        let mut options = OpenOptions::new();
        let opened = options.write(true).create_new(true).mode(0o600).open(file);
        let written = opened.and_then(|mut open| {
            let written = open.write_all(secret.as_bytes());
            if written.is_err() {
                // Half of it would be in the way of the next try.
                let _ = fs::remove_file(file);
            }
            written
        });
        written.map_err(|error| Failure::SecretUnwritten(file.to_owned(), error))
    }
}

impl Drop for Questions {
    fn drop(&mut self) {
        forget_typed();
    }
}

/// A secret: a line, or all that its first line is the beginning of.
fn pasted() -> Result<Zeroizing<String>, Failure> {
    // With room for all of it at once: a text that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(LARGEST_SECRET));
    loop {
        let room = LARGEST_SECRET.saturating_sub(text.len());
        let mut rest = io::stdin().lock().take(room as u64);
        if rest.read_line(&mut text)? == 0 {
            say("\n");
            return Err(Failure::Unanswered);
        }
        if is_whole(text.trim()) {
            return Ok(text);
        }
    }
}

/// Whether no further line belongs to what begins so. Half of a key would be of no use, and the other
/// half would be the next answer, or a command for the shell that keeps what it is told.
fn is_whole(text: &str) -> bool {
    // RFC 7468 §2: "Textual encoding begins with a line comprising "-----BEGIN ", a label, and "-----",
    // and ends with a line comprising "-----END ", a label, and "-----"."
    if text.starts_with("-----BEGIN ") {
        let last = text.lines().next_back();
        return last.is_some_and(|line| line.starts_with("-----END "));
    }
    // Such as the key file of a service account.
    let is_object = text.starts_with('{');
    let parsed = is_object.then(|| serde_json::from_str::<IgnoredAny>(text));
    !matches!(parsed, Some(Err(error)) if error.is_eof())
}

/// A terminal that does not show what is typed, until this is dropped.
struct Silence(Termios);

impl Silence {
    fn begin() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Now, &silent).ok()?;
        Some(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // What has been pasted too much is still a secret, and is not to be seen.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

/// What was typed before a question is no answer to it, and what is left at the end is no command for
/// the shell: somebody has pasted more than was asked for, and it may be a secret.
fn forget_typed() {
    let _ = tcflush(io::stdin(), QueueSelector::IFlush);
}

fn say_wrong(found: &str, expected: &str) {
    forget_typed();
    say(&format!("  found     {found}\n  expected  {expected}\n"));
}

fn say(text: &str) {
    let mut out = io::stdout();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// Keys have two or three thousand bytes.
const LARGEST_SECRET: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_whole_with_their_last_line() {
        let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQ==\n-----END PRIVATE KEY-----";
        let json = "{\n  \"type\": \"service_account\",\n  \"keys\": {\"a\": \"}\"}\n}";
        for whole in [pem, json] {
            let lines: Vec<_> = whole.lines().collect();
            for count in 1..lines.len() {
                assert!(!is_whole(&lines[..count].join("\n")), "{count} of {whole}");
            }
            assert!(is_whole(whole), "{whole}");
        }
        for line in ["", "s3cret", "-----", "{s3cret", "{s3}cret", "s{", "{}"] {
            assert!(is_whole(line), "{line}");
        }
    }
}
