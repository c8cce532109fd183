//! The answers so far, and the file that they make.

use std::fmt::Write as _;
use std::path::Path;

use url::Url;

use super::Failure;
use super::comments::comment_on;
use crate::config::{
    CREDENTIAL_KEYS, FILE_TO_COME, Flags, Layers, ONLY_CREDENTIAL, OneRoute, Problem, Problems,
    Settings, is_surely_a_path, needs_a_shell, quoted,
};
use crate::oauth::Flow;
use crate::oauth::transport::is_loopback;

/// What is known of the one route and its credential.
#[derive(Clone)]
pub(super) struct Draft {
    name: Option<String>,
    path: String,
    route: OneRoute,
}

impl Draft {
    pub(super) fn new(
        name: Option<String>,
        path: Option<String>,
        upstream: Option<String>,
        credential: Vec<(&'static str, String)>,
    ) -> Self {
        Self {
            name,
            path: path.unwrap_or_else(|| "/".into()),
            route: OneRoute {
                upstream,
                credential,
            },
        }
    }

    /// The layers of a configuration that says so, by flags, so that mistakes name them.
    pub(super) fn layers(&self) -> Layers {
        let store = format!("{SESSIONS}[credentials.{ONLY_CREDENTIAL}]\n{STORE}");
        Layers {
            text: self.is_login().then_some(store),
            flags: Flags {
                route: Some(self.route.clone()),
                ..Flags::default()
            },
            ..Layers::default()
        }
    }

    /// Whether a person logs in, whose session needs a store.
    pub(super) fn is_login(&self) -> bool {
        let logins = [Flow::Code, Flow::Device, Flow::Implicit];
        let grant = self.value("grant_type");
        logins.iter().any(|flow| grant == Some(flow.name()))
    }

    /// Whether it is known who hands out tokens.
    pub(super) fn has_provider(&self) -> bool {
        PROVIDER_KEYS.iter().any(|key| self.value(key).is_some())
    }

    /// Takes a preset's name or an address.
    pub(super) fn set_provider(&mut self, answer: &str) {
        let key = match answer.contains("://") {
            false => "preset",
            true if answer.contains("token") => "token_endpoint",
            true => "issuer",
        };
        let credential = &mut self.route.credential;
        credential.retain(|(written, _)| !ANSWERED_KEYS.contains(written));
        self.set(key, answer.to_owned());
    }

    /// Whether this key, and no other, is what [`Self::set_provider`] sets.
    pub(super) fn has_only_provider(&self, key: &str) -> bool {
        let is_set = |of: &&&str| self.value(of).is_some();
        let set: Vec<_> = ANSWERED_KEYS.iter().filter(is_set).collect();
        set == [&key]
    }

    pub(super) fn set(&mut self, key: &'static str, value: String) {
        if key == UPSTREAM {
            self.route.upstream = Some(value);
            return;
        }
        let credential = &mut self.route.credential;
        credential.retain(|(written, _)| *written != key);
        credential.push((key, value));
        let place = |key: &str| CREDENTIAL_KEYS.iter().position(|known| *known == key);
        credential.sort_by_key(|(key, _)| place(key));
    }

    /// The key that is asked for next, with what is said of it.
    pub(super) fn next_question<'a>(
        &self,
        problems: &'a Problems,
    ) -> Option<(&'static str, &'a Problem)> {
        let keys = CREDENTIAL_KEYS.into_iter().chain([UPSTREAM]);
        let mut about = keys.filter_map(|key| {
            let mut problems = problems.iter();
            let found = problems.find(|problem| problem.key.rsplit('.').next() == Some(key))?;
            Some((key, found))
        });
        about.next()
    }

    /// The outcome of a check without what is said of files that may be written later.
    pub(super) fn without_files_to_come(
        &self,
        checked: Result<Settings, Problems>,
    ) -> Result<(), Failure> {
        let Err(problems) = checked else {
            return Ok(());
        };
        let to_come = self.files_to_come();
        let left = |mut problem: Problem| {
            let key = problem.key.rsplit('.').next().unwrap_or_default();
            // It is made when all else is good, and has to be good then.
            let store = [SESSIONS_DIRECTORY, SESSIONS_KEY];
            let is_of_store = self.is_login()
                && problem.key.starts_with("stores.")
                && !store.iter().all(|place| Path::new(place).exists());
            let file = self.value(key).filter(|_| key.ends_with("_file"));
            if is_of_store || file.is_some_and(|file| to_come.contains(&file.to_owned())) {
                return None;
            }
            // The file need not be there yet, but what is written has to be its path.
            if file.is_some_and(|file| !is_surely_a_path(file) && !needs_a_shell(file)) {
                problem.found = NO_SURE_PATH.into();
                problem.expected = FILE_TO_COME.into();
            }
            Some(problem)
        };
        match problems.filter_map(left) {
            Some(left) => Err(Failure::Config(left)),
            None => Ok(()),
        }
    }

    /// Mistakes in what only the file has, as one reads them who has written flags.
    pub(super) fn told_by_flags(&self, problems: Problems) -> Problems {
        let credential = format!("credentials.{}", self.name());
        let by_flag = |problem: Problem| {
            let flag = match problem.key.as_str() {
                "routes[0].path" => "--path",
                key if key == credential => "--name",
                _ => return problem,
            };
            Problem {
                source: flag.into(),
                ..problem
            }
        };
        problems.map(by_flag)
    }

    /// A failure to get a token with the keys of this file in the place of one that it does not have.
    pub(super) fn told_by_keys(&self, failure: Failure) -> Failure {
        let Failure::NoToken(name, mut error) = failure else {
            return failure;
        };
        let advice = error.advice.as_deref().unwrap_or_default();
        if let Some(rest) = advice.strip_prefix("check token_endpoint")
            && rest.starts_with([',', ':'])
            && self.value("token_endpoint").is_none()
        {
            let keys = WHERE_THE_PROVIDER_IS.into_iter();
            let keys: Vec<_> = keys.filter(|key| self.value(key).is_some()).collect();
            let keys = match keys.is_empty() {
                true => "preset".into(),
                false => keys.join(" and "),
            };
            error.advice = Some(format!("check {keys}{rest}"));
        }
        Failure::NoToken(name, error)
    }

    /// The files that are named and not there. What may be a secret in the place of its file is none
    /// of them.
    pub(super) fn files_to_come(&self) -> Vec<String> {
        let to_come = |file: &&str| is_surely_a_path(file) && !Path::new(file).exists();
        self.files()
            .filter(to_come)
            .map(ToOwned::to_owned)
            .collect()
    }

    /// Whether a file is written by somebody else.
    pub(super) fn is_of_others(&self, file: &str) -> bool {
        self.value("token_file") == Some(file)
    }

    /// The files that are named.
    fn files(&self) -> impl Iterator<Item = &str> {
        self.secrets().map(|(_, file)| file)
    }

    /// The same, each with what it holds, which tells it apart wherever it is brought.
    pub(super) fn secrets(&self) -> impl Iterator<Item = (String, &str)> {
        let credential = self.route.credential.iter();
        credential.filter_map(|(key, file)| Some((secret_of(key)?, file.as_str())))
    }

    /// The same with all of these in another directory.
    pub(super) fn with_secrets_in(&self, directory: &str) -> Self {
        let mut moved = self.clone();
        for (key, file) in &mut moved.route.credential {
            if let Some(name) = secret_of(key) {
                *file = Path::new(directory).join(name).display().to_string();
            }
        }
        moved
    }

    /// The address that was probably meant, where one without `https://` was taken for a preset's name.
    pub(super) fn meant_address(&self) -> Option<String> {
        let answer = self.value("preset")?;
        let bare = answer
            .strip_prefix("https:")
            .or(answer.strip_prefix("http:"));
        let bare = bare.unwrap_or(answer).trim_start_matches('/');
        let is_like_one = answer.contains(['.', '/', ':']) && !answer.contains(char::is_whitespace);
        is_like_one.then(|| format!("https://{bare}"))
    }

    /// What is to be said of an upstream that the token would go to without TLS.
    pub(super) fn in_the_clear(&self) -> Option<String> {
        let upstream = self.route.upstream.as_deref()?;
        let url = Url::parse(upstream).ok()?;
        let is_plain = matches!(url.scheme(), "http" | "h2c");
        (is_plain && !is_loopback(&url)).then(|| {
            format!("the token travels in the clear to {upstream}; use https:// if it can")
        })
    }

    /// Whether a scope would be a good answer, and there is none yet.
    pub(super) fn takes_scope(&self) -> bool {
        self.value("scope").is_none() && self.takes("scope", "scope")
    }

    /// Whether this key may stand there with this value.
    fn takes(&self, key: &'static str, value: &str) -> bool {
        let mut with_it = self.clone();
        with_it.set(key, value.into());
        let checked = crate::config::load(&with_it.layers());
        self.without_files_to_come(checked).is_ok()
    }

    pub(super) fn name(&self) -> &str {
        let preset = self.value("preset").unwrap_or(ONLY_CREDENTIAL);
        self.name.as_deref().unwrap_or(preset)
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// What a key is, if it is known.
    pub(super) fn value(&self, key: &str) -> Option<&str> {
        let mut credential = self.route.credential.iter();
        let found = credential.find(|(written, _)| *written == key);
        found.map(|(_, value)| value.as_str())
    }

    /// The file, with a comment on each key.
    pub(super) fn file(&self) -> String {
        let mut text = String::from(HEAD);
        let name = self.name();
        if self.is_login() {
            let _ = write!(text, "{ABOUT_SESSIONS}{SESSIONS}");
        }
        let _ = writeln!(text, "{CREDENTIAL}[credentials.{}]", bare_or_quoted(name));
        for (key, value) in &self.route.credential {
            let line = format!("{key} = {}", quoted(value));
            let _ = writeln!(text, "{line:<40} # {}", comment_on(key));
        }
        if self.is_login() {
            text.push_str(STORE);
        }
        // It needs a place that outlives the process, which nobody but the user knows.
        let session = format!("./{name}.session");
        if self.value("password_file").is_some() && self.takes("session_file", &session) {
            let line = format!("# session_file = {}", quoted(&session));
            let _ = writeln!(text, "{line:<40} # {ABOUT_SESSION_FILE}");
        }
        let upstream = self.route.upstream.as_deref().unwrap_or_default();
        let _ = write!(
            text,
            "{ROUTE}[[routes]]\npath = {}\nupstream = {}\ncredential = {}\n",
            quoted(&self.path),
            quoted(upstream),
            quoted(name)
        );
        if self.path != "/" {
            let _ = writeln!(text, "strip_path = true");
        }
        text
    }
}

/// What the file of a key holds, if that is one: `client-secret` for `client_secret_file`.
fn secret_of(key: &str) -> Option<String> {
    Some(key.strip_suffix("_file")?.replace('_', "-"))
}

/// A key of TOML.
fn bare_or_quoted(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    match !name.is_empty() && name.chars().all(is_bare) {
        true => name.to_owned(),
        false => quoted(name),
    }
}

const UPSTREAM: &str = "upstream";

const NO_SURE_PATH: &str = "a path that does not exist (not shown: it might be the secret itself)";

/// Keys of which an answer to the first question is one.
const ANSWERED_KEYS: [&str; 3] = ["preset", "token_endpoint", "issuer"];

/// Keys that an address of the provider is made of, where it is not written itself.
const WHERE_THE_PROVIDER_IS: [&str; 5] = ["environment", "domain", "tenant", "realm", "issuer"];

/// Keys of which one says who hands out tokens.
const PROVIDER_KEYS: [&str; 5] = [
    "preset",
    "token_endpoint",
    "issuer",
    "token_file",
    "service_account_file",
];

const HEAD: &str = "\
# Written by `gatepass init`. `gatepass check` tells what is wrong with this file, --show also what a
# preset fills in. docs/configuration.md and config.example.toml have every key.
";

/// Where sessions are kept, and what they are encrypted with.
pub(super) const SESSIONS_DIRECTORY: &str = "./sessions";
pub(super) const SESSIONS_KEY: &str = "./sessions-key";

const ABOUT_SESSIONS: &str = "
# Where `gatepass login` leaves sessions, encrypted, and `gatepass run` takes them up.
";

const SESSIONS: &str = "\
[stores.sessions]
kind = \"file\"
directory = \"./sessions\"
key_file = \"./sessions-key\"
";

const STORE: &str = "store = \"sessions\"\n";

const ABOUT_SESSION_FILE: &str = "keeps its session: no sign-in at each start";

const CREDENTIAL: &str = "
# How tokens are got. No secret stands here: each file with one is named.
";

const ROUTE: &str = "
# Where requests go, each with a token. More tables like this one may follow; the longest path wins.
";
