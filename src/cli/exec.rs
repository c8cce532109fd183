//! `gatepass exec`: a command with a gatepass of its own, for as long as it runs.

mod children;
mod signals;

use std::env;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use clap::Args;
use rustix::process::{Signal, kill_process};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::Level;

use self::children::Children;
use super::progress::Progress;
use super::{Failure, SourceArguments, duration};
use crate::app::{self, Bound};
use crate::config::{self, Flags, Settings};
use crate::readiness::{Finding, Readiness};
use crate::runtime::{DescriptorLimit, spawn};
use crate::server::Address;
use crate::signal::Signals;
use crate::{runtime, telemetry};

#[derive(Debug, Args)]
pub(super) struct ExecArguments {
    /// The variable that tells the command where gatepass listens, as NAME or as NAME=/PATH with a
    /// path behind the address; may be given more than once [default: HTTP_PROXY and http_proxy].
    /// NO_PROXY and no_proxy name this machine in any case
    #[arg(long, value_name = "NAME[=/PATH]")]
    variable: Vec<String>,

    /// How long to wait for the tokens before the command is started
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration::parse)]
    timeout: Duration,

    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<OsString>,

    #[command(flatten)]
    source: SourceArguments,
}

pub(super) fn exec(arguments: ExecArguments) -> Result<u8, Failure> {
    let layers = arguments.source.layers(Flags {
        listen: vec![FREE_PORT.into()],
        admin_listen: Some(FREE_PORT.into()),
        ..Flags::default()
    })?;
    let mut settings = for_one_caller(config::load(&layers)?);
    let secret_variables = std::mem::take(&mut settings.secret_variables);
    // Nobody spreads load over it.
    settings.delay = Duration::ZERO;
    let log = telemetry::start(telemetry::Settings {
        // The terminal is the command's.
        level: Level::WARN.min(settings.log.level),
        ..settings.log
    })?;
    let [program, rest @ ..] = arguments.command.as_slice() else {
        return Err(Failure::Fault("exec has no command".into()));
    };
    let limit = DescriptorLimit::in_force();
    runtime::control(async {
        let mut signals = signals::caught()?;
        let children = Children::watched()?;
        let bound = app::build(settings, layers, &log)?;
        let mut command = Command::new(program);
        command.args(rest);
        // What gatepass is told is not the command's business, secrets least of all.
        for (name, _) in env::vars_os().filter(|(name, _)| is_ours(name)) {
            command.env_remove(name);
        }
        for name in secret_variables {
            command.env_remove(name);
        }
        for (name, value) in variables(&arguments.variable, &bound)? {
            command.env(name, value);
        }
        let (readiness, order) = (bound.readiness(), bound.order_to_stop());
        let (to_end_at_once, at_once) = mpsc::channel(1);
        // gatepass serves until the command has ended, and stops as it always does.
        let whole = async {
            let start = || {
                let started = limit.during(|| command.spawn());
                let name = || program.to_string_lossy().into_owned();
                started.map_err(|error| Failure::NoCommand(name(), error))
            };
            let patience = arguments.timeout;
            let ended =
                once_there_are_tokens(&readiness, patience, start, children, &mut signals).await;
            order.notify_one();
            spawn(signals::second(signals, to_end_at_once));
            ended
        };
        let (ended, stopped) = tokio::join!(whole, bound.run(Signals::passed_on(at_once)));
        stopped?;
        ended
    })?
}

/// Settings within the limits of open files that are usual, so that nobody is warned of them.
pub(super) fn for_one_caller(mut settings: Settings) -> Settings {
    let connections = &mut settings.proxy.connections.max_connections;
    *connections = MOST_CONNECTIONS.min(*connections);
    settings
}

/// The variables that are set, with what they are.
fn variables(wanted: &[String], bound: &Bound) -> Result<Vec<(String, String)>, Failure> {
    let tcp = bound
        .proxy_addresses()
        .iter()
        .find_map(|address| match address {
            Address::Tcp(address) => Some(address),
            Address::Unix(_) | Address::Systemd(_) => None,
        });
    let address = tcp.ok_or_else(|| Failure::Fault("the proxy has no address of TCP".into()))?;
    let url = format!("http://{address}");
    // What the command says to this machine is not for a proxy. One that the environment names would get what is
    // meant for gatepass.
    let direct = ["NO_PROXY", "no_proxy"].map(|name| (name.to_owned(), without_proxy(name)));
    if wanted.is_empty() {
        // curl and others read the small ones alone.
        let proxy = ["HTTP_PROXY", "http_proxy"].map(|name| (name.to_owned(), url.clone()));
        return Ok(proxy.into_iter().chain(direct).collect());
    }
    let variable = |written: &String| {
        let refused = |why| Err(Failure::Variable(written.clone(), why));
        let (name, path) = written.split_once('=').unwrap_or((written, ""));
        match path {
            _ if !is_legal_name(name) => refused("no environment variable is called so"),
            "" => Ok((name.to_owned(), url.clone())),
            _ if path.starts_with('/') => Ok((name.to_owned(), format!("{url}{path}"))),
            _ => refused("what stands behind the = does not begin with /"),
        }
    };
    direct
        .into_iter()
        .map(Ok)
        .chain(wanted.iter().map(variable))
        .collect()
}

/// The hosts that are called without a proxy: those that the variable names already, and this machine.
fn without_proxy(name: &str) -> String {
    let before = env::var(name).unwrap_or_default();
    match before.trim() {
        "" => LOOPBACK.into(),
        before => format!("{before},{LOOPBACK}"),
    }
}

/// POSIX, Base Definitions §8.1: names of variables "consist solely of uppercase letters, digits, and
/// the <underscore> […] and do not begin with a digit"; applications define small ones.
fn is_legal_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && name.chars().all(legal) && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn is_ours(name: &OsString) -> bool {
    name.to_string_lossy().starts_with("GATEPASS__")
}

/// Runs the command, unless a signal comes before, and returns the exit code of the whole.
async fn once_there_are_tokens(
    readiness: &Readiness,
    patience: Duration,
    start: impl FnOnce() -> Result<Child, Failure>,
    children: Children,
    signals: &mut mpsc::Receiver<Signal>,
) -> Result<u8, Failure> {
    match tokens(readiness, patience, signals).await? {
        Some(signal) => Ok(signals::exit_code(signal)),
        None => until_its_end(&start()?, children, signals).await,
    }
}

/// Waits until every token is there, or for the signal that comes before and ends the waiting.
async fn tokens(
    readiness: &Readiness,
    patience: Duration,
    signals: &mut mpsc::Receiver<Signal>,
) -> Result<Option<Signal>, Failure> {
    let ready = async {
        readiness.started().await;
        while !readiness.not_ready().is_empty() {
            sleep(PERIOD).await;
        }
    };
    let waited = async {
        tokio::select! {
            // Whoever has given up wants no command started, even if the tokens are there by now.
            biased;
            Some(signal) = signals.recv() => Ok(Some(signal)),
            ready = timeout(patience, ready) => ready.map(|()| None),
        }
    };
    let waited = Progress::on_terminal().during("waiting for the tokens", waited);
    waited.await.map_err(|_| {
        let missing = readiness.not_ready();
        let missing = missing
            .iter()
            .map(|Finding { subject, reason }| format!("{subject} {reason}"));
        let missing: Vec<_> = missing.collect();
        Failure::NoTokensInTime(patience, missing.join("\n"))
    })
}

/// Passes signals on to the command until it ends, and returns its exit code.
async fn until_its_end(
    child: &Child,
    mut children: Children,
    signals: &mut mpsc::Receiver<Signal>,
) -> Result<u8, Failure> {
    let pid = children::pid(child);
    loop {
        tokio::select! {
            // What comes after its end is not for it any more.
            biased;
            ended = children.end_of(child) => {
                let unknown = |error| Failure::Fault(format!("how the command ended is not known: {error}"));
                return ended.map(exit_code).map_err(unknown);
            }
            Some(signal) = signals.recv() => {
                if !signals::has_come_by_keys(signal) {
                    // One that has just ended gets no more.
                    let _ = pid.map(|pid| kill_process(pid, signal));
                }
            }
        }
    }
}

/// That of the command, as a shell has it.
fn exit_code(ended: ExitStatus) -> u8 {
    let code = ended
        .code()
        .or_else(|| ended.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(u8::MAX)
}

const MOST_CONNECTIONS: usize = 400;

const FREE_PORT: &str = "127.0.0.1:0";

/// The names that a command has for what is on its own machine.
const LOOPBACK: &str = "localhost,127.0.0.1,::1";

const PERIOD: Duration = Duration::from_millis(20);
