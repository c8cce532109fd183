//! `gatepass check`

use std::fmt::Write as _;
use std::io::{self, Write as _};

use super::{ConfigArguments, DONE, Failure};
use crate::config::{self, Layers, Settings};

pub(super) fn check(arguments: ConfigArguments) -> Result<u8, Failure> {
    let layers = Layers::from_process(arguments.config, arguments.listeners.into())?;
    let settings = config::load(&layers)?;
    let _ = io::stdout().write_all(summary(&settings).as_bytes());
    Ok(DONE)
}

/// What the configuration will do, in a few lines.
fn summary(settings: &Settings) -> String {
    let mut text = String::from("The configuration is good.\n");
    for address in &settings.proxy.listen {
        let _ = writeln!(text, "\nApplications call http://{address}");
    }
    for route in &settings.routes {
        let with = match &route.credential {
            Some(name) => format!("with a token of \"{name}\""),
            None => "with no token".into(),
        };
        let _ = writeln!(
            text,
            "  {} → {}{} {with}",
            route.prefix,
            route.origin,
            route.origin.base_path()
        );
    }
    for credential in &settings.credentials {
        let endpoint = &credential.token_endpoint;
        let _ = writeln!(
            text,
            "\nTokens of \"{}\" come from {}{}",
            credential.credential,
            endpoint.origin().ascii_serialization(),
            endpoint.path()
        );
    }
    for name in &settings.unused_credentials {
        let _ = writeln!(
            text,
            "\nNo route uses credential \"{name}\": no token will be fetched for it."
        );
    }
    let _ = writeln!(
        text,
        "\nOperators look at http://{}/readyz and /metrics",
        settings.admin
    );
    text
}
