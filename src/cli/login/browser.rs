//! The system's browser.

use std::env;
use std::process::{Command, Stdio};

/// Opens an address; `false` if there is no browser here.
pub(super) fn open(url: &str) -> bool {
    let Ok(program) = program() else {
        return false;
    };
    let mut command = Command::new(program);
    command.arg(url);
    let quiet = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // It may well live longer than this process.
    quiet.spawn().is_ok()
}

/// Why no browser can be opened for whoever sits at this terminal, if none can.
pub(super) fn missing() -> Option<&'static str> {
    program().err()
}

/// Whether whoever sits at this terminal sits elsewhere.
pub(super) fn is_by_ssh() -> bool {
    is_set("SSH_CONNECTION") || is_set("SSH_TTY")
}

/// What opens addresses.
fn program() -> Result<String, &'static str> {
    if let Some(named) = env::var("BROWSER").ok().filter(|named| !named.is_empty()) {
        return Ok(named);
    }
    let has_display = is_set("DISPLAY") || is_set("WAYLAND_DISPLAY");
    if !has_display && is_by_ssh() {
        return Err("this is a session of SSH");
    }
    if cfg!(target_os = "macos") {
        return Ok("open".into());
    }
    if !has_display {
        return Err("there is no display");
    }
    match is_installed(XDG_OPEN) {
        true => Ok(XDG_OPEN.into()),
        false => Err("xdg-open is not installed"),
    }
}

fn is_set(name: &str) -> bool {
    env::var_os(name).is_some_and(|value| !value.is_empty())
}

fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

const XDG_OPEN: &str = "xdg-open";
