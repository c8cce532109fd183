//! From files, the environment and flags to what the rooms need, with every mistake found at once.
//!
//! `layers` gathers what was written (defaults < file < its profile < environment < flags), `decode` turns it
//! into the `raw` types, and `resolve` makes [`Settings`] of them, with what providers fix filled in.
//! A mistake on the way becomes a [`Problem`] and the way goes on, so that an operator sees all of
//! them.

mod decode;
mod excerpt;
mod flags;
mod layers;
mod misspelling;
mod places;
mod problem;
mod profiles;
mod raw;
mod reference;
mod resolve;
mod scalar;
mod show;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;

pub use flags::{CREDENTIAL_KEYS, Flags, ONLY_CREDENTIAL, OneRoute};
pub use layers::Layers;
pub use problem::{Problem, Problems};
pub use reference::{json_schema, page};
pub use resolve::{FILE_TO_COME, is_surely_a_path, presets};
pub use show::{Table, quoted};

use crate::watch::Files;
use crate::{oauth, proxy, server, store, telemetry, traces};

/// A digest that tells settings from those before a reload.
pub type Revision = [u8; 32];

/// All that a configuration says, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Of everything, the files that are part of it included.
    pub revision: Revision,
    /// The files that it was read from, as they were before.
    pub files: Files,
    /// The environment's variables that secrets were taken from.
    pub secret_variables: BTreeSet<String>,
    /// Of each key that takes effect with a restart alone.
    pub fixed: BTreeMap<String, Revision>,
    /// Where callers are served.
    pub proxy: Proxy,
    /// Where operators are served.
    pub admin: Admin,
    /// The stores that credentials share their tokens in, by name.
    pub stores: BTreeMap<String, store::Settings>,
    /// The credentials that routes need.
    pub credentials: Vec<oauth::Settings>,
    /// The others.
    pub unused: Vec<oauth::Settings>,
    /// The routes.
    pub routes: Vec<proxy::Settings>,
    /// How long gatepass serves on after it is told to stop, before it takes no more.
    pub delay: Duration,
    /// How long requests in flight may take to finish once gatepass is told to stop.
    pub grace: Duration,
    /// What is logged.
    pub log: telemetry::Settings,
    /// Where traces go, if anywhere.
    pub traces: Option<traces::Settings>,
    /// What is logged of each request.
    pub access_log: Option<proxy::AccessLog>,
    /// The whole as people may see it: each key with its value and where that comes from, and no secret.
    pub annotated: String,
    /// What is legal and yet probably not what was meant, in words for an operator.
    pub warnings: Vec<String>,
}

/// The data plane's listeners and threads.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// Where to listen, and how.
    pub listen: Vec<Listen>,
    /// What keeps strangers away from it.
    pub guard: Guard,
    /// Who may connect to its Unix sockets.
    pub unix: server::UnixAccess,
    /// Which requests are taken at all.
    pub admission: proxy::Admission,
    /// How many threads serve.
    pub workers: usize,
    /// How many requests may be under way at once.
    pub max_requests: usize,
    /// The limits of the callers' connections.
    pub connections: server::Settings,
    /// Whether somebody has written how many there may be.
    pub counts_connections: bool,
}

impl Proxy {
    /// How TLS is spoken with callers, if it is. All listeners show the same certificate.
    pub fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.listen.iter().find_map(|listen| listen.tls.clone())
    }
}

/// The operators' listener, and what is to be had there.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Where to listen.
    pub listen: server::Address,
    /// Whether `POST /quit` is obeyed.
    pub quit: bool,
    /// Whether the status shows whom a token is about.
    pub show_subject: bool,
    /// How many may listen to what happens, at once.
    pub event_streams: usize,
}

/// One of the data plane's listeners.
#[derive(Debug, Clone)]
pub struct Listen {
    /// Where.
    pub address: server::Address,
    /// How to speak TLS with callers, if it is to be spoken.
    pub tls: Option<Arc<ServerConfig>>,
}

/// What keeps strangers from using the credentials through a listener that they can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// Callers show a key, or somebody has said that the network is trusted.
    pub everywhere: bool,
    /// Callers show a certificate where TLS is spoken.
    pub by_certificate: bool,
}

impl Guard {
    /// Whether strangers would act with the credentials at an address, where TLS is spoken or is not.
    pub fn leaves_open(self, address: &server::Address, is_tls: bool) -> bool {
        let is_guarded = self.everywhere || (is_tls && self.by_certificate);
        !address.is_local() && !is_guarded
    }
}

/// The words that a key of a credential takes, if it takes one of a few.
pub fn words_of_credential(key: &str) -> Vec<&'static str> {
    resolve::words(&format!("credentials.NAME.{key}"))
}

/// Whether a text is a path that a shell would have made another of.
pub fn needs_a_shell(text: &str) -> bool {
    resolve::unexpanded(text).is_some()
}

/// Where operators are served, whatever is wrong with the rest of the configuration.
///
/// # Errors
///
/// That cannot be told.
pub fn admin_address(layers: &Layers) -> Result<server::Address, Problems> {
    let (raw, mut report) = decode::decode(layers)?;
    resolve::admin_address(raw.admin, &mut report).ok_or_else(|| report.into_problems())
}

/// Reads and checks a configuration. Nothing is bound and nothing is sent.
///
/// # Errors
///
/// Everything that is wrong with it.
pub fn load(layers: &Layers) -> Result<Settings, Problems> {
    load_with_files(layers).0
}

/// The same once more, for what has changed since. What is no file is not even opened: a pipe has said
/// what it had to say, and whoever opens one waits until somebody writes, for ever if nobody does.
pub fn load_again(layers: &Layers) -> (Result<Settings, Problems>, Files) {
    match layers.spent() {
        Some(problem) => (Err(Problems::one(problem)), decode::seen(layers)),
        None => load_with_files(layers),
    }
}

/// The same, and the files whose change may change the outcome, as they were before they were read.
pub fn load_with_files(layers: &Layers) -> (Result<Settings, Problems>, Files) {
    let own = decode::seen(layers);
    let (raw, mut report) = match decode::decode(layers) {
        Ok(decoded) => decoded,
        Err(problems) => return (Err(problems), own),
    };
    match resolve::resolve(raw, &mut report) {
        Some(mut settings) if report.is_clean() => {
            settings.annotated = show::annotated(&settings, &report);
            let files = report.read_files().clone();
            settings.files = files.clone();
            (Ok(settings), files)
        }
        _ => {
            let files = report.files_of_mistakes();
            (Err(report.into_problems()), files)
        }
    }
}
