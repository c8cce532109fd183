//! The system's browser.

use std::env;
use std::process::{Command, Stdio};

/// Opens an address; `false` if there is no browser here.
pub(super) fn open(url: &str) -> bool {
    let named = env::var("BROWSER").ok().filter(|named| !named.is_empty());
    let program = match (&named, cfg!(target_os = "macos")) {
        (Some(named), _) => named,
        (None, true) => "open",
        (None, false) if has_display() => "xdg-open",
        (None, false) => return false,
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

fn has_display() -> bool {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    is_set("DISPLAY") || is_set("WAYLAND_DISPLAY")
}
