//! `gatepass exec`: a command with a gatepass of its own, for as long as it runs.

use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::Level;

use super::progress::Progress;
use super::{Failure, SourceArguments, duration};
use crate::app::{self, Bound};
use crate::config::{self, Flags, Settings};
use crate::readiness::{Finding, Readiness};
use crate::server::Address;
use crate::signal::Signals;
use crate::{runtime, telemetry};

#[derive(Debug, Args)]
pub(super) struct ExecArguments {
    /// The variable that tells the command where gatepass listens, as NAME or as NAME=/PATH with a
    /// path behind the address; may be given more than once [default: HTTP_PROXY and http_proxy, with
    /// this machine in NO_PROXY and no_proxy]
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
    runtime::control(async {
        let to_pass_on = passed_on()?;
        let bound = app::build(settings, layers, &log)?;
        let mut command = Command::new(program);
        command.args(rest);
        for (name, value) in variables(&arguments.variable, &bound)? {
            command.env(name, value);
        }
        // What gatepass is told is not the command's business, secrets least of all.
        for (name, _) in env::vars_os().filter(|(name, _)| is_ours(name)) {
            command.env_remove(name);
        }
        let (readiness, order) = (bound.readiness(), bound.order_to_stop());
        let work = async {
            tokens(&readiness, arguments.timeout).await?;
            let child = command.spawn().map_err(|error| {
                Failure::NoCommand(program.to_string_lossy().into_owned(), error)
            })?;
            Ok(until_its_end(child, to_pass_on).await?)
        };
        // gatepass serves until the command has ended, and stops as it always does.
        let whole = async {
            let ended: Result<ExitStatus, Failure> = work.await;
            order.notify_one();
            ended
        };
        let (ended, stopped) = tokio::join!(whole, bound.run(Signals::none()));
        stopped.map_err(|error| Failure::Fault(error.to_string()))?;
        ended.map(exit_code)
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
    if wanted.is_empty() {
        // curl and others read the small ones alone.
        let proxy = ["HTTP_PROXY", "http_proxy"].map(|name| (name.to_owned(), url.clone()));
        // What the command says to its neighbours on this machine is not for a proxy.
        let direct = ["NO_PROXY", "no_proxy"].map(|name| (name.to_owned(), without_proxy(name)));
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
    wanted.iter().map(variable).collect()
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

/// Waits until every token is there.
async fn tokens(readiness: &Readiness, patience: Duration) -> Result<(), Failure> {
    let ready = async {
        readiness.started().await;
        while !readiness.not_ready().is_empty() {
            sleep(PERIOD).await;
        }
    };
    let ready = timeout(patience, ready);
    let ready = Progress::on_terminal().during("waiting for the tokens", ready);
    ready.await.map_err(|_| {
        let missing = readiness.not_ready();
        let missing = missing
            .iter()
            .map(|Finding { subject, reason }| format!("{subject} {reason}"));
        let missing: Vec<_> = missing.collect();
        Failure::NoTokensInTime(patience, missing.join("\n"))
    })
}

/// The signals for the command that come to gatepass. Those of a terminal's keys it gets itself.
fn passed_on() -> io::Result<mpsc::Receiver<Signal>> {
    let (sender, receiver) = mpsc::channel(16);
    let by_keys = io::stdin().is_terminal();
    let kinds = [
        (SignalKind::terminate(), Signal::TERM, false),
        (SignalKind::hangup(), Signal::HUP, false),
        (SignalKind::user_defined1(), Signal::USR1, false),
        (SignalKind::user_defined2(), Signal::USR2, false),
        (SignalKind::interrupt(), Signal::INT, by_keys),
        (SignalKind::quit(), Signal::QUIT, by_keys),
    ];
    for (kind, same, is_the_command_s_already) in kinds {
        // Caught in any case: gatepass ends after the command.
        let mut stream = signal(kind)?;
        let sender = sender.clone();
        tokio::task::spawn_local(async move {
            while stream.recv().await.is_some() {
                if !is_the_command_s_already {
                    let _ = sender.send(same).await;
                }
            }
        });
    }
    Ok(receiver)
}

async fn until_its_end(
    mut child: Child,
    mut to_pass_on: mpsc::Receiver<Signal>,
) -> io::Result<ExitStatus> {
    let pid = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    loop {
        tokio::select! {
            ended = child.wait() => return ended,
            Some(signal) = to_pass_on.recv() => {
                // One that has just ended gets no more.
                let _ = pid.map(|pid| kill_process(pid, signal));
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
