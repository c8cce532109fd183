//! The signals that come to gatepass while it is there for a command.

use std::{fs, io};

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Signal, getpgrp};
use rustix::termios::tcgetpgrp;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::runtime::spawn;
use crate::signal::StopSignal;

/// Those that a command may be sent, from now on: none ends gatepass by itself any more. What ignores
/// them for the command (`nohup`, or the `&` of a shell's script) goes on doing so: one that is caught
/// here is not ignored there any more.
pub(super) fn caught() -> io::Result<mpsc::Receiver<Signal>> {
    let (sender, receiver) = mpsc::channel(16);
    let kinds = [
        (SignalKind::terminate(), Signal::TERM),
        (SignalKind::hangup(), Signal::HUP),
        (SignalKind::user_defined1(), Signal::USR1),
        (SignalKind::user_defined2(), Signal::USR2),
        (SignalKind::interrupt(), Signal::INT),
        (SignalKind::quit(), Signal::QUIT),
    ];
    let ignored = ignored();
    for (kind, same) in kinds {
        if is_of_a_terminal(same) && is_in(ignored, same) {
            continue;
        }
        let mut stream = signal(kind)?;
        let sender = sender.clone();
        spawn(async move {
            while stream.recv().await.is_some() {
                let _ = sender.send(same).await;
            }
        });
    }
    Ok(receiver)
}

/// Those that a terminal sends, and that a command without one is not to be ended by.
fn is_of_a_terminal(signal: Signal) -> bool {
    matches!(signal, Signal::HUP | Signal::INT | Signal::QUIT)
}

/// The signals that this process ignores, a bit for each (`SigIgn`, proc_pid_status(5)). Elsewhere than
/// on Linux that is not to be learnt without `unsafe`.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or_default()
}

/// The lowest bit is signal 1.
fn is_in(mask: u64, signal: Signal) -> bool {
    let bit = u32::try_from(signal.as_raw() - 1).ok();
    bit.is_some_and(|bit| mask.unbounded_shr(bit) & 1 == 1)
}

/// Whether a terminal's keys have probably sent it, so that the command has it already.
///
/// POSIX, Base Definitions §11.1.9: the INTR character "generates a SIGINT signal which is sent to all
/// processes in the foreground process group for which the terminal is the controlling terminal". The
/// command is in gatepass's own group. Who has sent a signal is not to be learnt without `unsafe`, so
/// one that somebody sends to gatepass alone while it is in the foreground is taken for one of the keys.
pub(super) fn has_come_by_keys(signal: Signal) -> bool {
    matches!(signal, Signal::INT | Signal::QUIT) && is_in_foreground()
}

/// Whether keys reach this process: standard input may be something else than the terminal, and a
/// terminal there somebody else's.
fn is_in_foreground() -> bool {
    let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let foreground = open("/dev/tty", flags, Mode::empty()).and_then(tcgetpgrp);
    foreground.is_ok_and(|group| group == getpgrp())
}

/// The exit code by which shells report a process that this signal ended.
pub(super) fn exit_code(signal: Signal) -> u8 {
    u8::try_from(128 + signal.as_raw()).unwrap_or(u8::MAX)
}

/// Once there is no command any more: tells what a signal asks of gatepass, which is stopping.
pub(super) async fn second(mut signals: mpsc::Receiver<Signal>, to: mpsc::Sender<StopSignal>) {
    while let Some(signal) = signals.recv().await {
        let stop = match signal {
            Signal::TERM => StopSignal::Terminate,
            Signal::INT => StopSignal::Interrupt,
            Signal::HUP => StopSignal::HangUp,
            Signal::QUIT => StopSignal::Quit,
            // There is nothing to be asked for besides.
            _ => continue,
        };
        let _ = to.send(stop).await;
    }
}
