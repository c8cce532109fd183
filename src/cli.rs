//! The command line: what can be asked, what is printed, and what the process's exit says.

mod admin_client;
mod check;
mod demo;
mod doctor;
mod duration;
mod exec;
mod exit_codes;
mod failure;
mod init;
mod login;
mod manual;
mod one_route;
mod progress;
mod run;
mod status;
mod terminal;
mod token;
mod wait;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand};

use crate::config::{Flags, Layers, OneRoute, Problems};
use crate::runtime;
use admin_client::AdminArguments;
use exec::ExecArguments;
use exit_codes::{CONFIG, DONE, OUR_FAULT, UNAVAILABLE, USAGE};
use failure::Failure;
use init::InitArguments;
use login::{LoginArguments, LogoutArguments};
use manual::{CompletionsArguments, ManArguments, SchemaArguments};
use one_route::CredentialArguments;
use status::StatusArguments;
use token::TokenArguments;

/// Reads the arguments, does what they ask, and returns the exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let command = match CommandLine::try_parse_from(arguments) {
        Ok(line) => line.command,
        Err(error) if asks_for_help(&error) => {
            let _ = error.print();
            return if error.use_stderr() { USAGE } else { DONE };
        }
        Err(error) => {
            let said = error.render().to_string();
            return told(&Failure::CommandLine(said, tip(&error)));
        }
    };
    // Secrets are read from here on. Where there is no such protection, work goes on without.
    let _ = runtime::keep_memory_private();
    let outcome = match command {
        Command::Run(arguments) => run::run(arguments),
        Command::Wait(arguments) => wait::wait(arguments),
        Command::Init(arguments) => init::init(arguments),
        Command::Check(arguments) => check::check(arguments),
        Command::Token(arguments) => token::token(arguments),
        Command::Status(arguments) => status::status(arguments),
        Command::Exec(arguments) => exec::exec(arguments),
        Command::Login(arguments) => login::login(arguments),
        Command::Logout(arguments) => login::logout(arguments),
        Command::Doctor(arguments) => doctor::doctor(arguments),
        Command::Demo(listeners) => demo::demo(listeners),
        Command::Schema(arguments) => manual::schema(arguments),
        Command::Completions(arguments) => manual::completions(arguments),
        Command::Man(arguments) => manual::man(arguments),
    };
    outcome.unwrap_or_else(|failure| told(&failure))
}

/// Help and version are no mistakes, though the parser has them among its errors.
fn asks_for_help(error: &clap::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            | ErrorKind::DisplayVersion
    )
}

/// What the parser cannot know: how to see what a file says, and that other programs take one by other
/// arguments.
fn tip(error: &clap::Error) -> Option<&'static str> {
    let is_conflict = error.kind() == ErrorKind::ArgumentConflict;
    if is_conflict && error.to_string().contains("--print-config") {
        return Some("see what a file says with `gatepass check --show`");
    }
    let argument = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(argument)) => argument.as_str(),
        _ => return None,
    };
    let names_file = argument.ends_with(".toml") || matches!(argument, "-c" | "-f");
    let is_unknown = error.kind() == ErrorKind::UnknownArgument;
    (is_unknown && names_file).then_some("name a configuration file by --config FILE")
}

/// Says what has failed, and returns the exit code.
fn told(failure: &Failure) -> u8 {
    let _ = writeln!(io::stderr(), "gatepass: {failure}");
    failure.exit_code()
}

/// Keeps OAuth tokens current and adds them to the requests of applications that cannot.
///
/// The application calls gatepass in plain HTTP; gatepass adds `Authorization: Bearer …` and
/// forwards the call to the upstream.
#[derive(Debug, Parser)]
#[command(name = "gatepass", version, long_version = BUILD, after_help = exit_codes::in_help())]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy
    ///
    /// Reads the configuration, starts to fetch tokens and serves until SIGTERM or SIGINT; then
    /// requests in flight may finish within shutdown.grace. A configuration with a mistake
    /// starts nothing. For one upstream and one credential flags are enough, without a file.
    Run(RunArguments),
    /// Write a first configuration
    ///
    /// Asks for what is missing, if somebody is there to answer, writes a commented file, and says
    /// what comes next. No secret gets into the file: it names where secrets are kept.
    Init(InitArguments),
    /// Check a configuration without starting anything
    ///
    /// Prints every mistake at once, each with its place, what was found there and what was expected.
    /// Nothing is sent and no port is bound.
    Check(CheckArguments),
    /// Follow the way of a request step by step and say what is wrong
    ///
    /// Looks at the listeners, and for each credential and route at files, name, connection, TLS with
    /// its certificates, clock, discovery, token and its claims. Each way ends at the first step that
    /// is broken, with what that means and what to do. A token is requested, unless that would use up
    /// a refresh token; nothing is sent to upstreams without --call.
    Doctor(DoctorArguments),
    /// Log in, so that run can use the session
    ///
    /// For credentials with grant_type authorization_code, device_code or implicit. Opens the
    /// provider's page in a browser, waits for it to come back to this machine, and leaves the session
    /// in the credential's store, from which a gatepass that runs takes it over at once.
    Login(LoginArguments),
    /// End a session that login has begun, at the provider's and here
    Logout(LogoutArguments),
    /// Wait until a gatepass that runs on this machine is ready
    ///
    /// For scripts, and for containers that must not begin before every token is there. Ends with
    /// 0 when /readyz says so, and with 69 and what is missing when it does not in time.
    Wait(WaitArguments),
    /// Get a token as run would, and say what it is
    ///
    /// Asks the provider, or takes what the credential's store has, and prints where the token is
    /// from, how long it lives and what its claims are, but not the token itself.
    Token(TokenArguments),
    /// Show how a gatepass that runs on this machine is doing
    ///
    /// Each credential with the life of its token, each route with what was answered, and what needs
    /// somebody's attention.
    Status(StatusArguments),
    /// Run a command with a gatepass of its own
    ///
    /// Starts the proxy on a free port, waits for the tokens, runs the command with variables that
    /// say where the proxy is, passes signals on to it, and ends with it and with its exit code
    /// (128 + the number of the signal that ended it; 127 if there is no such command, 126 if it cannot
    /// be executed). The command does not get variables that begin with GATEPASS__.
    Exec(ExecArguments),
    /// Show gatepass at work, with nothing to configure
    ///
    /// Starts an authorization server whose tokens live for seconds, an upstream that checks them,
    /// and gatepass between the two, all in this process and on this machine's loopback. Prints
    /// each token and each request, and the commands to try.
    Demo(Listeners),
    /// Print the JSON Schema of the configuration
    ///
    /// Editors use it to complete and check gatepass.toml.
    Schema(SchemaArguments),
    /// Print a script that has a shell complete gatepass's commands and flags
    Completions(CompletionsArguments),
    /// Print the manual page, or write one for each command
    Man(ManArguments),
}

#[derive(Debug, Args)]
struct RunArguments {
    /// Start nothing and print the file that says the same as the flags
    #[arg(long, requires = "upstream", conflicts_with_all = ["config", "profile"])]
    print_config: bool,

    #[command(flatten)]
    config: ConfigArguments,
}

#[derive(Debug, Args)]
struct ConfigArguments {
    #[command(flatten)]
    listeners: Listeners,

    #[command(flatten)]
    source: SourceArguments,
}

impl ConfigArguments {
    /// The layers of the configuration that they name.
    fn layers(self) -> Result<Layers, Problems> {
        self.source.layers(self.listeners.into())
    }
}

#[derive(Debug, Args)]
struct SourceArguments {
    /// The configuration file [default: gatepass.toml here, then /etc/gatepass/gatepass.toml]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["upstream", "credential"])]
    config: Option<PathBuf>,

    /// The profile whose tables go over the rest of the file [default: that of GATEPASS_PROFILE]
    #[arg(long, value_name = "NAME", conflicts_with_all = ["upstream", "credential"])]
    profile: Option<String>,

    /// Without a file: where requests go, with a token of the credential that the flags below describe
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,

    #[command(flatten)]
    credential: CredentialArguments,
}

#[derive(Debug, Args)]
struct FileArguments {
    /// The configuration file [default: as for run]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The profile whose tables go over the rest of the file [default: that of GATEPASS_PROFILE]
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
}

impl FileArguments {
    /// The layers of the configuration that they name.
    fn layers(self) -> Result<Layers, Problems> {
        self.layers_or("")
    }

    /// The same, with what else can be said than where the file is.
    fn layers_or(self, otherwise: &str) -> Result<Layers, Problems> {
        Layers::of_file(self.config, self.profile, otherwise)
    }
}

impl SourceArguments {
    /// The layers of the configuration that they name, with further flags.
    fn layers(self, flags: Flags) -> Result<Layers, Problems> {
        let credential = self.credential.keys();
        let route = (self.upstream.is_some() || !credential.is_empty()).then_some(OneRoute {
            upstream: self.upstream,
            credential,
        });
        let flags = Flags {
            route,
            profile: self.profile,
            ..flags
        };
        Layers::from_process(self.config, flags)
    }
}

#[derive(Debug, Args)]
struct CheckArguments {
    /// Also print each credential with all that its preset and the defaults fill in, without secrets
    #[arg(long)]
    show: bool,

    #[command(flatten)]
    config: ConfigArguments,
}

#[derive(Debug, Args)]
struct DoctorArguments {
    /// Also send one HEAD request to each upstream, with the route's token
    #[arg(long)]
    call: bool,

    /// Print JSON, for programs
    #[arg(long)]
    json: bool,

    // Last, because the heading of its last flags would stand above those that follow.
    #[command(flatten)]
    config: ConfigArguments,
}

#[derive(Debug, Args)]
struct WaitArguments {
    #[command(flatten)]
    admin: AdminArguments,

    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration::parse)]
    timeout: Duration,
}

#[derive(Debug, Args)]
struct Listeners {
    /// Where applications call gatepass; may be given more than once [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<String>,

    /// Where metrics and probes are served [default: 127.0.0.1:9090]
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<String>,
}

impl From<Listeners> for Flags {
    fn from(listeners: Listeners) -> Self {
        Self {
            listen: listeners.listen,
            admin_listen: listeners.admin_listen,
            ..Self::default()
        }
    }
}

const BUILD: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit    ",
    env!("GATEPASS_BUILD_COMMIT"),
    "\ntarget    ",
    env!("GATEPASS_BUILD_TARGET"),
    "\nprofile   ",
    env!("GATEPASS_BUILD_PROFILE"),
    "\ncompiler  ",
    env!("GATEPASS_BUILD_COMPILER"),
    "\nTLS       rustls with aws-lc-rs",
);
