//! `gatepass check`

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};

use super::terminal::print_out;
use super::{CheckArguments, DONE, Failure};
use crate::config::{self, Layers, Settings};
use crate::server::Address;

pub(super) fn check(arguments: CheckArguments) -> Result<u8, Failure> {
    let CheckArguments { config, show } = arguments;
    let layers = config.layers()?;
    let settings = config::load(&layers)?;
    let mut text = summary(&layers.sources(), &settings);
    let profiles = layers.other_profiles();
    if !profiles.is_empty() {
        let _ = writeln!(
            text,
            "\nIts profiles are not looked at; --profile NAME checks one: {}",
            profiles.join(", ")
        );
    }
    if show {
        for table in settings.credentials_in_full() {
            let _ = write!(text, "\n{table}");
        }
    }
    print_out(&text)?;
    // For people alone: what reads a pipe knows what it wants.
    if io::stdout().is_terminal() && io::stderr().is_terminal() {
        let _ = writeln!(io::stderr(), "\n{}", next(&layers, &settings));
    }
    Ok(DONE)
}

/// What comes after a good configuration.
fn next(layers: &Layers, settings: &Settings) -> String {
    let login = settings.credentials.iter().find(|of| of.needs_login());
    let login = login.map(|of| format!("`gatepass login {}`, ", of.credential));
    let login = login.unwrap_or_default();
    let flags = match layers.is_by_default() {
        true => "",
        false => ", with the same flags",
    };
    format!("Next: {login}`gatepass doctor` to try it, `gatepass run` to serve{flags}")
}

/// What the configuration will do, in a few lines.
fn summary(sources: &str, settings: &Settings) -> String {
    let mut text = format!("The configuration is good: {sources}\n");
    for listen in &settings.proxy.listen {
        let url = listen.address.url(listen.tls.is_some());
        let _ = writeln!(text, "\nApplications call {url}");
    }
    for route in &settings.routes {
        let with = match &route.credential {
            Some(name) => format!("with a token of \"{name}\""),
            None => "with no token".into(),
        };
        let route = route.describe();
        let _ = writeln!(text, "  {} → {} {with}", route.matches, route.upstream);
    }
    for credential in &settings.credentials {
        let _ = writeln!(
            text,
            "\nTokens of \"{}\" come from {}",
            credential.credential, credential.origin
        );
    }
    for warning in &settings.warnings {
        let _ = writeln!(text, "\nWarning: {warning}.");
    }
    let admin = settings.admin.listen.url(false);
    let _ = match settings.admin.listen {
        Address::Tcp(_) => writeln!(text, "\nOperators look at {admin}/readyz and /metrics"),
        _ => writeln!(text, "\nOperators look at /readyz and /metrics at {admin}"),
    };
    text
}
