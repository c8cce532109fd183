//! `gatepass login` and `gatepass logout`: a person logs in, and the session goes to the credential's
//! store.

mod browser;
mod callback;

use std::io::{self, Write};
use std::time::Duration;

use clap::Args;
use tokio::time::timeout;
use url::Url;

use super::progress::Progress;
use super::token::{named, stores};
use super::{DONE, Failure, FileArguments, duration};
use crate::config;
use crate::oauth::{DeviceAuthorization, Flow, Login, Outcome};
use crate::runtime;
use crate::wording::in_seconds;
use callback::Callback;

#[derive(Debug, Args)]
pub(super) struct LoginArguments {
    /// The credential's name; may be left out if there is only one
    credential: Option<String>,

    #[command(flatten)]
    file: FileArguments,

    /// Log in on another device, by a code that is typed in there; done anyway where no browser can be
    /// opened, if the provider knows how
    #[arg(long)]
    device: bool,

    /// Open no browser: print the address, for one on this machine
    #[arg(long, conflicts_with = "device")]
    no_browser: bool,

    /// How long to wait for the browser
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration::parse)]
    timeout: Duration,
}

#[derive(Debug, Args)]
pub(super) struct LogoutArguments {
    /// The credential's name; may be left out if there is only one
    credential: Option<String>,

    #[command(flatten)]
    file: FileArguments,
}

pub(super) fn login(arguments: LoginArguments) -> Result<u8, Failure> {
    let LoginArguments {
        credential,
        file,
        device,
        no_browser,
        timeout,
    } = arguments;
    let (name, login) = prepare(credential.as_deref(), file)?;
    if device && login.settings().flow == Flow::Implicit {
        return Err(Failure::ImplicitOnDevice);
    }
    let outcome = runtime::control(async {
        let kept = login.check_store().await;
        kept.map_err(|error| Failure::LoginFailed(name.clone(), error))?;
        if device || login.settings().flow == Flow::Device {
            let begun = login.begin_on_device().await;
            let begun = begun.map_err(|error| Failure::LoginFailed(name.clone(), error))?;
            return on_device(&name, &login, begun).await;
        }
        if !no_browser && let Some(begun) = where_no_browser_is(&login).await {
            return on_device(&name, &login, begun).await;
        }
        in_browser(&name, &login, !no_browser, timeout).await
    })??;
    say(&summary(&name, &login, &outcome));
    Ok(DONE)
}

pub(super) fn logout(arguments: LogoutArguments) -> Result<u8, Failure> {
    let (name, login) = prepare(arguments.credential.as_deref(), arguments.file)?;
    let had_session = runtime::control(login.log_out())?
        .map_err(|error| Failure::LogoutFailed(name.clone(), error))?;
    say(&match had_session {
        true => format!(
            "The session of {name:?} is ended, at the provider's and here. A gatepass that runs uses \
             the token that it has to its end."
        ),
        false => format!("There was no session of {name:?} that could be ended."),
    });
    Ok(DONE)
}

fn prepare(credential: Option<&str>, file: FileArguments) -> Result<(String, Login), Failure> {
    let layers = file.layers()?;
    let settings = config::load(&layers)?;
    let credential = named(&settings, credential)?;
    let login = Login::new(credential, &stores(&settings)?);
    let login = login.map_err(|error| Failure::Fault(error.to_string()))?;
    let name = credential.credential.clone();
    match login {
        Some(login) => Ok((name, login)),
        None => Err(Failure::NoLogin(name)),
    }
}

/// A login on another device, where no browser can be opened and the provider lets this client do so.
async fn where_no_browser_is(login: &Login) -> Option<DeviceAuthorization> {
    let why = browser::missing().filter(|_| login.settings().flow == Flow::Code)?;
    if !login.knows_devices().await {
        return None;
    }
    let begun = login.begin_on_device().await.ok()?;
    say(&format!(
        "No browser can be opened here, as {why}: the login is done on another device. With --no-browser \
         an address is printed for a browser on this machine."
    ));
    Some(begun)
}

/// RFC 8252.
async fn in_browser(
    name: &str,
    login: &Login,
    open: bool,
    patience: Duration,
) -> Result<Outcome, Failure> {
    let failed = |error| Failure::LoginFailed(name.to_owned(), error);
    if login.settings().flow == Flow::Implicit {
        say(
            "Warning: with grant_type = \"implicit\" the token passes through the browser, where more can \
             see it, and there is no refresh token: when it ends, somebody has to log in again. Use \
             authorization_code if the provider allows it.",
        );
    }
    let callback = Callback::listen(&login.settings().redirect_uri).map_err(Failure::NoCallback)?;
    let authorization = login
        .authorization(callback.address())
        .await
        .map_err(failed)?;
    let url = authorization.url.as_str();
    match open && browser::open(url) {
        true => say(&format!(
            "The browser shows the login page. If it does not, open this in one on this machine:\n\n  {url}\n"
        )),
        false => {
            let knows_devices = login.settings().flow == Flow::Code && login.knows_devices().await;
            let device = match knows_devices {
                true => {
                    "\nOn a machine without one, use `gatepass login --device`, if the provider lets \
                     this client.\n"
                }
                false => "",
            };
            let from_afar = from_afar(callback.address());
            say(&format!(
                "Open this in a browser on this machine:\n\n  {url}\n{device}{from_afar}"
            ));
        }
    }
    let waiting = timeout(patience, callback.answer(&authorization));
    let waiting = Progress::on_terminal().during("waiting for the browser", waiting);
    let fields = waiting
        .await
        .map_err(|_| Failure::NobodyLoggedIn(name.to_owned(), patience))?;
    let fields = fields.map_err(failed)?;
    login.redeem(&authorization, &fields).await.map_err(failed)
}

/// How the browser of another machine finds its way back to this one, where somebody may sit there.
fn from_afar(callback: &Url) -> String {
    let (Some(host), Some(port), true) = (callback.host(), callback.port(), browser::is_by_ssh())
    else {
        return String::new();
    };
    // The name of this machine is known to whoever has come here by it.
    format!(
        "\nBy SSH: run `ssh -L {port}:{host}:{port} HOST` on your own machine, with this one for HOST, \
         and open it there.\n"
    )
}

/// RFC 8628.
async fn on_device(
    name: &str,
    login: &Login,
    device: DeviceAuthorization,
) -> Result<Outcome, Failure> {
    let complete = device.verification_uri_complete.as_ref();
    let complete = complete.map_or_else(String::new, |url| {
        format!("\nor this, which has the code in it:\n\n  {url}\n")
    });
    say(&format!(
        "Open this on any device\n\n  {}\n\nand type in the code {}{}\nThere are {} for it.",
        device.verification_uri,
        device.user_code,
        match complete.is_empty() {
            true => ".\n",
            false => &complete,
        },
        humantime::format_duration(device.lifetime),
    ));
    let finishing = login.finish_on_device(&device);
    let finishing = Progress::on_terminal().during("waiting for the login", finishing);
    finishing
        .await
        .map_err(|error| Failure::LoginFailed(name.to_owned(), error))
}

fn summary(name: &str, login: &Login, outcome: &Outcome) -> String {
    let life = in_seconds(outcome.token.lifetime);
    let lasting = match (outcome.is_lasting, login.settings().flow) {
        (true, _) => "and the session goes on by itself from there",
        (false, Flow::Implicit) => "and then somebody has to log in again",
        (false, _) => {
            "and then somebody has to log in again, because there is no refresh token; many providers \
             give one for the scope offline_access"
        }
    };
    format!("Logged in: {name:?} has a token that lives {life}, {lasting}.")
}

/// What people read stands on standard error; there is nothing for programs.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
