//! Why a command could not do what it was asked, in one form for all of them.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;

use super::exit_codes::{NOT_EXECUTABLE, NOT_FOUND};
use super::{CONFIG, OUR_FAULT, UNAVAILABLE, USAGE};
use crate::app::{BuildError, RunError};
use crate::config::Problems;
use crate::server::Address;
use crate::token::source::FetchError;
use crate::wording::{Trouble, harmless};

/// Why a command could not do what it was asked.
#[derive(Debug)]
pub(super) enum Failure {
    /// The configuration is wrong.
    Config(Problems),
    /// gatepass could not be put together from it.
    Build(BuildError),
    /// The command line is not understood, with what its reader says, and what it does not know to say.
    CommandLine(String, Option<&'static str>),
    /// There is no credential of this name among these.
    UnknownCredential(String, Vec<String>),
    /// None of these credentials is named.
    WhichCredential(Vec<String>),
    /// `exec --variable` says what cannot be set, for this reason.
    Variable(String, &'static str),
    /// `token --raw` would print a secret where others see it.
    RawToTerminal,
    /// Nobody logs in to this credential.
    NoLogin(String),
    /// Without a code there is no login on another device.
    ImplicitOnDevice,
    /// `init` would replace this file.
    FileIsThere(PathBuf),
    /// Nobody has answered the questions of `init`.
    Unanswered,
    /// Nobody is there to be asked by `init`, and this is missing or wrong in its flags.
    LeftOpen(Problems),
    /// `init` is to print a deployment of what a person logs in to.
    NoDeploymentOfLogin,
    /// A file could not be written.
    Unwritten(PathBuf, io::Error),
    /// The secret that somebody has pasted could not be written into its file.
    SecretUnwritten(String, io::Error),
    /// The secret that a token is asked for with is still to come, with the command that asks again.
    SecretToCome(String, String),
    /// No token of this credential is to be had.
    NoToken(String, FetchError),
    /// The session of this credential, in this file, belongs to the gatepass that runs there.
    SessionInUse(String, PathBuf, Address),
    /// The browser has nowhere to come back to.
    NoCallback(io::Error),
    /// Nobody has logged in to this credential in time.
    NobodyLoggedIn(String, Duration),
    /// A login to this credential has failed.
    LoginFailed(String, FetchError),
    /// A logout from this credential has failed.
    LogoutFailed(String, FetchError),
    /// The gatepass there was not ready in time, with what it said last.
    NotReadyInTime(Address, Duration, Silence),
    /// The gatepass there tells no status.
    NoStatus(Address, Silence),
    /// The command of `exec` is not started, because these tokens did not come in time.
    NoTokensInTime(Duration, String),
    /// The command of `exec` cannot be started.
    NoCommand(String, io::Error),
    /// What was to be printed could not be.
    Unprinted(io::Error),
    /// The operating system refused something basic.
    System(io::Error),
    /// gatepass does not fit together.
    Fault(String),
}

/// What comes of a question to an admin listener instead of the answer.
#[derive(Debug)]
pub(super) enum Silence {
    /// Nobody can be asked there.
    Unreachable(io::Error),
    /// Something else is said.
    Said(String),
    /// What is said is not what a gatepass says.
    Stranger(String),
}

impl Failure {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Config(problems) if problems.are_of_the_command_line() => USAGE,
            Self::Config(_) | Self::Build(BuildError::Exposed(_)) => CONFIG,
            Self::CommandLine(..)
            | Self::UnknownCredential(..)
            | Self::WhichCredential(_)
            | Self::Variable(..)
            | Self::RawToTerminal
            | Self::NoLogin(_)
            | Self::ImplicitOnDevice
            | Self::FileIsThere(_)
            | Self::Unanswered
            | Self::LeftOpen(_)
            | Self::NoDeploymentOfLogin => USAGE,
            Self::Build(BuildError::Listen { .. } | BuildError::Activation(_))
            | Self::Unwritten(..)
            | Self::SecretUnwritten(..)
            | Self::SecretToCome(..)
            | Self::NoToken(..)
            | Self::SessionInUse(..)
            | Self::NoCallback(_)
            | Self::NobodyLoggedIn(..)
            | Self::LoginFailed(..)
            | Self::LogoutFailed(..)
            | Self::NotReadyInTime(..)
            | Self::NoStatus(..)
            | Self::NoTokensInTime(..)
            | Self::Unprinted(_)
            | Self::System(_) => UNAVAILABLE,
            Self::NoCommand(_, error) => match error.kind() {
                io::ErrorKind::NotFound => NOT_FOUND,
                _ => NOT_EXECUTABLE,
            },
            Self::Build(_) | Self::Fault(_) => OUR_FAULT,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trouble = match self {
            Self::Config(problems) => return problems.fmt(f),
            Self::Build(error) => error.trouble(),
            Self::CommandLine(said, tip) => {
                let said = said.trim_start_matches("error: ");
                let (why, next) = said.split_once("\n\n").unwrap_or((said, ""));
                let lines = next
                    .lines()
                    .map(|line| line.trim().trim_start_matches("tip: "));
                let lines = lines.filter(|line| !line.is_empty());
                let next = tip.iter().copied().chain(lines);
                Trouble::new(
                    "the command line is not understood",
                    why,
                    next.collect::<Vec<_>>().join("\n"),
                )
            }
            Self::UnknownCredential(name, known) => Trouble::new(
                format!("there is no credential {name:?}"),
                "the configuration does not have it",
                name_one_of(known),
            ),
            Self::WhichCredential(known) => Trouble::new(
                "no credential is named",
                format!("the configuration has {} of them", known.len()),
                name_one_of(known),
            ),
            Self::Variable(written, why) => Trouble::new(
                format!("--variable {written} cannot be set"),
                why,
                "write NAME, or NAME=/PATH",
            ),
            Self::RawToTerminal => Trouble::new(
                "the token is not printed to a terminal",
                "others may see it there",
                "pass it on (`gatepass token --raw | …`), or say --to-terminal as well",
            ),
            Self::NoLogin(name) => Trouble::new(
                format!("nobody logs in to {name:?}"),
                "its grant_type is none of authorization_code, device_code and implicit, and it gets \
                 its tokens by itself",
                "run `gatepass token` to see that it does",
            ),
            Self::ImplicitOnDevice => Trouble::new(
                "nobody can log in on another device",
                "with grant_type = \"implicit\" there is no such way",
                "log in with a browser, without --device",
            ),
            Self::FileIsThere(path) => Trouble::new(
                format!("{} is not written", path.display()),
                "it is there already, and stays as it is",
                "name another file with --output, or say --force to replace it",
            ),
            Self::Unanswered => Trouble::new(
                "no configuration is written",
                "the questions were not answered to the end",
                "answer them, or say it by flags (gatepass init --help)",
            ),
            Self::LeftOpen(problems) => {
                f.write_str(
                    "nothing is written: there is no terminal to ask on, and of the flags this is \
                     missing or wrong.",
                )?;
                return problems
                    .iter()
                    .try_for_each(|problem| write!(f, "\n\n{problem}"));
            }
            Self::NoDeploymentOfLogin => Trouble::new(
                "nothing is written",
                "a person logs in to this credential, and the session would stay on this machine",
                "share it by a store of kind redis (docs/fleet.md), or leave out --deployment",
            ),
            Self::Unwritten(path, error) => Trouble::new(
                format!("{} cannot be written", path.display()),
                error,
                "make the directory, or name another place",
            ),
            Self::SecretUnwritten(file, error) => Trouble::new(
                format!("{file} cannot be written"),
                error,
                "write the secret there yourself, and run this again",
            ),
            Self::SecretToCome(file, again) => Trouble::new(
                "no token is asked for",
                format!("{file} is not there"),
                format!("write the secret into it, and run `{again}`"),
            ),
            Self::NoToken(name, error) => fetched(format!("there is no token of {name:?}"), error),
            Self::SessionInUse(name, file, admin) => Trouble::new(
                format!("no token is got for {name:?}"),
                format!(
                    "its session in {} belongs to the gatepass that runs at {admin}, and two processes \
                     would use up each other's refresh tokens",
                    file.display()
                ),
                "stop that one, or give the credential a store",
            ),
            Self::NoCallback(error) => Trouble::new(
                "nothing can be listened on for the browser to come back to",
                error,
                "end what listens there, or set another redirect_uri",
            ),
            Self::NobodyLoggedIn(name, patience) => Trouble::new(
                format!("nobody is logged in to {name:?}"),
                format!(
                    "the browser has not come back within {}",
                    humantime::format_duration(*patience)
                ),
                "begin again, with a longer --timeout if need be",
            ),
            Self::LoginFailed(name, error) => {
                fetched(format!("nobody is logged in to {name:?}"), error)
            }
            Self::LogoutFailed(name, error) => {
                fetched(format!("the session of {name:?} is not ended"), error)
            }
            Self::NotReadyInTime(address, patience, silence) => silence.trouble(format!(
                "the gatepass at {address} was not ready within {}",
                humantime::format_duration(*patience)
            )),
            Self::NoStatus(address, silence) => {
                silence.trouble(format!("the gatepass at {address} tells no status"))
            }
            Self::NoTokensInTime(patience, missing) => Trouble::new(
                "the command is not started",
                format!(
                    "gatepass was not ready within {}: {missing}",
                    humantime::format_duration(*patience)
                ),
                "run `gatepass doctor` to see what keeps the tokens, or wait longer with --timeout",
            ),
            Self::NoCommand(name, error) => Trouble::new(
                format!("the command {name:?} cannot be started"),
                error,
                command_advice(name, error),
            ),
            Self::Unprinted(error) => Trouble::new(
                "what was asked for could not be printed",
                error,
                "see what standard output is connected to",
            ),
            Self::System(error) => Trouble::new(
                "the operating system refuses what gatepass needs to start",
                error,
                "see the limits of this process (ulimit -a) and the machine's memory",
            ),
            Self::Fault(why) => Trouble::new(
                "gatepass cannot go on",
                why,
                "report it: this is a fault of gatepass",
            ),
        };
        trouble.fmt(f)
    }
}

impl Silence {
    fn trouble(&self, what: String) -> Trouble {
        match self {
            Self::Unreachable(error) => Trouble::new(
                what,
                format!("it cannot be asked: {error}"),
                "see that it runs, and that it listens there",
            ),
            Self::Said(said) => {
                let said: Vec<_> = said.lines().map(harmless).collect();
                Trouble::new(
                    what,
                    format!("it says: {}", said.join("\n")),
                    "see its log, and `gatepass doctor`",
                )
            }
            Self::Stranger(said) => {
                let first = said.lines().next().unwrap_or_default();
                let first: String = first.chars().take(ENOUGH_OF_A_STRANGER).collect();
                let said = match first.as_str() {
                    "" => "nothing".into(),
                    _ => harmless(&first),
                };
                Trouble::new(
                    what,
                    format!(
                        "what answers there is not a gatepass's admin listener; it says: {said}"
                    ),
                    "see admin.listen of the configuration, or say with --admin-listen where that is \
                     (proxy.listen is another)",
                )
            }
        }
    }
}

/// Characters that tell what sort of a server it is.
const ENOUGH_OF_A_STRANGER: usize = 100;

fn fetched(what: String, error: &FetchError) -> Trouble {
    let next = error.advice.as_deref();
    Trouble::new(
        what,
        &error.message,
        next.unwrap_or("run `gatepass doctor`, which walks the way step by step"),
    )
}

/// What to do about a command that is not started. The system says of a script whose interpreter is not
/// there that the script is not.
fn command_advice(name: &str, error: &io::Error) -> &'static str {
    if error.raw_os_error() == Some(Errno::NOEXEC.raw_os_error()) {
        "begin a script with #! and its interpreter (#!/bin/sh), or take the program that is for this machine"
    } else if error.kind() == io::ErrorKind::NotFound && Path::new(name).is_file() {
        "the file is there: see that the interpreter which its first line names (#!…) is there as well, or its loader"
    } else {
        "see that it is there, and may be run"
    }
}

fn name_one_of(known: &[String]) -> String {
    match known {
        [] => "write a [credentials.NAME] table, or have `gatepass init` do it".into(),
        _ => format!("name one of {}", known.join(", ")),
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Config(problems)
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        Self::Build(error)
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Worker(error) => Self::System(error),
            other => Self::Fault(other.to_string()),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

#[cfg(test)]
mod tests;
