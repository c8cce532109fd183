//! `gatepass token`: gets one token as `run` would, and tells what it is.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};

use clap::Args;
use prometheus::Registry;
use secrecy::ExposeSecret;
use serde_json::{Map, Value};

use super::progress::Progress;
use super::terminal::{Palette, print_out};
use super::{DONE, Failure, FileArguments, admin_client};
use crate::config::{self, Settings};
use crate::oauth::{self, Origin, jwt_claims};
use crate::runtime;
use crate::store::{Stores, StoresMetrics};
use crate::token::source::{FetchError, FetchedToken, Occasion};
use crate::wording::{harmless, in_seconds};

#[derive(Debug, Args)]
pub(super) struct TokenArguments {
    /// The credential's name; may be left out if there is only one
    credential: Option<String>,

    #[command(flatten)]
    file: FileArguments,

    /// Ask the provider, even if the credential's store has a token
    #[arg(long)]
    refresh: bool,

    /// Print the token itself and nothing else, for scripts; not to a terminal
    #[arg(long)]
    raw: bool,

    /// With --raw: print it even to a terminal, where others may see it
    #[arg(long, requires = "raw")]
    to_terminal: bool,
}

pub(super) fn token(arguments: TokenArguments) -> Result<u8, Failure> {
    if arguments.raw && io::stdout().is_terminal() && !arguments.to_terminal {
        return Err(Failure::RawToTerminal);
    }
    let layers = arguments.file.layers()?;
    let settings = config::load(&layers)?;
    let credential = named(&settings, arguments.credential.as_deref())?;
    refuse_a_session_in_use(&settings, credential)?;
    let got = get(&settings, credential, arguments.refresh)?;
    let text = match arguments.raw {
        true => format!("{}\n", got.token.secret.expose_secret()),
        false => summary(credential, &got, Palette::of_stdout()),
    };
    print_out(&text)?;
    Ok(DONE)
}

/// The credential of this name, or the only one.
pub(super) fn named<'a>(
    settings: &'a Settings,
    name: Option<&str>,
) -> Result<&'a oauth::Settings, Failure> {
    let all = || settings.credentials.iter().chain(&settings.unused);
    let found = match name {
        Some(name) => all().find(|credential| credential.credential == name),
        None => all().next().filter(|_| all().count() == 1),
    };
    found.ok_or_else(|| {
        let known = all().map(|credential| credential.credential.clone());
        match name {
            Some(name) => Failure::UnknownCredential(name.to_owned(), known.collect()),
            None => Failure::WhichCredential(known.collect()),
        }
    })
}

/// The stores that the settings name. Nobody is shown what they count.
pub(super) fn stores(settings: &Settings) -> Result<Stores, Failure> {
    let metrics = StoresMetrics::register(&Registry::new());
    let metrics = metrics.map_err(|error| Failure::Fault(error.to_string()))?;
    Ok(Stores::new(settings.stores.clone(), metrics))
}

/// Two processes with one session would use up each other's refresh tokens.
fn refuse_a_session_in_use(
    settings: &Settings,
    credential: &oauth::Settings,
) -> Result<(), Failure> {
    let Origin::Provider(provider) = &credential.origin else {
        return Ok(());
    };
    let (Some(file), None) = (&provider.session_file, &credential.store) else {
        return Ok(());
    };
    match admin_client::get(&settings.admin.listen, "/livez") {
        Err(_) => Ok(()),
        Ok(_) => Err(Failure::SessionInUse(
            credential.credential.clone(),
            file.clone(),
            settings.admin.listen.clone(),
        )),
    }
}

/// A token, and where it is from.
pub(super) struct Got {
    token: FetchedToken,
    from_store: bool,
}

/// Gets a token as a running gatepass would, once.
pub(super) fn get(
    settings: &Settings,
    credential: &oauth::Settings,
    refresh: bool,
) -> Result<Got, Failure> {
    let stores = stores(settings)?;
    let (source, sharing) = oauth::source(credential.clone(), &stores)
        .map_err(|error| Failure::Fault(error.to_string()))?;
    stores.show(&credential.credential, sharing.as_ref());
    let standings = stores.standings();
    let from_store = || standings.of(&credential.credential).is_from_store();
    let fetching = async {
        let mut token = source.fetch(Occasion::Due).await?;
        if refresh && from_store() {
            token = source.fetch(Occasion::Demanded).await?;
        }
        Ok::<_, FetchError>((token, from_store()))
    };
    let what = format!("asking {} for a token", credential.origin);
    let fetched = runtime::control(Progress::on_terminal().during(&what, fetching))?;
    let (token, from_store) =
        fetched.map_err(|error| Failure::NoToken(credential.credential.clone(), error))?;
    Ok(Got { token, from_store })
}

/// What can be told of a token without showing it.
pub(super) fn summary(credential: &oauth::Settings, got: &Got, palette: Palette) -> String {
    let token = got.token.secret.expose_secret();
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{}{value}", palette.heading(&format!("{name:<12}")));
    };
    line("credential", &credential.credential);
    line(
        "from",
        &match got.from_store {
            true => format!(
                "store {:?}, where a login or another gatepass has left it",
                credential.store.as_deref().unwrap_or_default()
            ),
            false => credential.origin.to_string(),
        },
    );
    let life = got.token.lifetime.saturating_sub(got.token.age);
    line("ends in", &in_seconds(life).to_string());
    let scheme = Some(credential.scheme.as_str()).filter(|scheme| !scheme.is_empty());
    line(
        "sent as",
        &format!(
            "{}{} ({} characters)",
            scheme.map_or_else(String::new, |scheme| format!("{scheme} ")),
            HIDDEN,
            token.len()
        ),
    );
    match (jwt_claims::header(token), jwt_claims::claims(token)) {
        (Some(header), Some(claims)) => {
            line("form", &form(&header));
            if let Some(scope) = claims.get("scope").or_else(|| claims.get("scp")) {
                line("scope", &told(scope));
            }
            line(
                "claims",
                "(as the token has them; nothing is verified here)",
            );
            for (name, value) in claims.iter().take(MOST_CLAIMS) {
                line("", &format!("{:<10} {}", harmless(name), told(value)));
            }
        }
        _ => line("form", "opaque: only the provider can tell what it says"),
    }
    if let Some(refusal) = &got.token.refused_secret {
        line("warning", &harmless(refusal));
    }
    text
}

fn form(header: &Map<String, Value>) -> String {
    let word = |name: &str| header.get(name).and_then(Value::as_str).map(harmless);
    let key = word("kid").map_or_else(String::new, |key| format!(" by key {key}"));
    let algorithm = word("alg").unwrap_or_else(|| "an unknown algorithm".into());
    format!("a JWT, signed with {algorithm}{key}")
}

/// A claim in one line.
fn told(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut told: String = harmless(&text).chars().take(WIDEST).collect();
    if told.len() < text.len() {
        told.push('…');
    }
    told
}

const HIDDEN: &str = "•••";
const MOST_CLAIMS: usize = 40;
const WIDEST: usize = 160;
