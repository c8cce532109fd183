//! Questions on a terminal.

use std::fs::OpenOptions;
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;

use clap::ValueEnum;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use secrecy::{ExposeSecret, SecretString};

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
        let answer = self
            .optional(&question)
            .map(|answer| answer.map(SecretString::from));
        drop(silence);
        say("\n");
        let Some(secret) = answer? else {
            return Ok(());
        };
        make_directory_of(file)?;
        let mut options = OpenOptions::new();
        let opened = options.write(true).create_new(true).mode(0o600).open(file);
        let written = opened.and_then(|mut open| open.write_all(secret.expose_secret().as_bytes()));
        written.map_err(|error| Failure::SecretUnwritten(file.to_owned(), error))
    }
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
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

fn say_wrong(found: &str, expected: &str) {
    say(&format!("  found     {found}\n  expected  {expected}\n"));
}

fn say(text: &str) {
    let mut out = io::stdout();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}
