//! A good configuration that mistakes are made in.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use tempfile::TempDir;

use super::tls_server;
use crate::support::certificates::{Authority, Identity};
use crate::support::gatepass::command;
use crate::support::{AuthorizationServer, CLIENT_SECRET, Upstream, shows_a_secret};

/// A directory with a configuration that is good, to be spoilt.
pub struct Place {
    pub directory: TempDir,
    pub provider: AuthorizationServer,
    pub upstream: Upstream,
    /// What stands above everything else.
    pub top: String,
    /// `[credentials.envase]` and what is above it, without the routes.
    pub credential: String,
    pub upstream_url: String,
    pub route: String,
    /// Variables that are set.
    pub environment: Vec<(String, String)>,
    /// What is another each time, and what stands for it.
    pub volatile: Vec<(String, &'static str)>,
}

impl Place {
    pub async fn new() -> Self {
        let (provider, upstream) = (AuthorizationServer::start(), Upstream::start().await);
        let place = Self {
            directory: tempfile::tempdir().unwrap(),
            top: String::new(),
            credential: format!(
                "token_endpoint = \"{}\"\nclient_id = \"tms\"\nclient_secret_file = \"secret\"",
                provider.token_endpoint()
            ),
            upstream_url: upstream.origin(),
            route: "credential = \"envase\"".into(),
            environment: Vec::new(),
            volatile: vec![
                (provider.address().to_string(), "PROVIDER"),
                (upstream.authority(), "UPSTREAM"),
            ],
            provider,
            upstream,
        };
        place.write("secret", CLIENT_SECRET);
        place
    }

    pub fn write(&self, name: &str, content: &str) {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub fn replace(&mut self, from: &str, to: &str) {
        assert!(self.credential.contains(from), "{}", self.credential);
        self.credential = self.credential.replace(from, to);
    }

    pub fn stands_for(&mut self, what: impl ToString, name: &'static str) {
        self.volatile.insert(0, (what.to_string(), name));
    }

    /// A server with TLS that the credential asks, trusting an authority.
    pub async fn ask_over_tls(&mut self, trusted: &Authority, identity: &Identity) {
        self.write("ca.pem", &trusted.pem());
        let address = tls_server(identity).await;
        let port = address.port();
        let plain = self.provider.token_endpoint();
        self.replace(&plain, &format!("https://localhost:{port}/oauth2/token"));
        self.credential.push_str("\ntls = { ca_file = \"ca.pem\" }");
        self.stands_for(port, "TLS-PORT");
    }

    pub fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let anywhere = ["PROXY", "ADMIN"].map(|listener| format!("GATEPASS__{listener}__LISTEN"));
        let anywhere = anywhere.map(|name| (name, "127.0.0.1:0".to_owned()));
        let variables = self.environment.iter().cloned();
        self.run_with(arguments, anywhere.into_iter().chain(variables))
    }

    fn run_with(
        &self,
        arguments: &[&str],
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> (Option<i32>, String, String) {
        let config = format!(
            "{}[credentials.envase]\n{}\n[[routes]]\npath = \"/\"\nupstream = \"{}\"\n{}\n",
            self.top, self.credential, self.upstream_url, self.route
        );
        self.write("gatepass.toml", &config);
        let output = command()
            .args(arguments)
            .current_dir(self.directory.path())
            .envs(environment)
            .output()
            .unwrap();
        let text = |bytes| self.without_volatile(String::from_utf8(bytes).unwrap());
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    pub fn without_volatile(&self, text: String) -> String {
        assert!(!shows_a_secret(&text), "a secret was printed:\n{text}");
        let mut text = text;
        for (what, name) in &self.volatile {
            text = text.replace(what, name);
        }
        for (before, after) in [("verification time ", " (UNIX)"), (" (", " seconds ago)")] {
            text = without_number(&text, before, after);
        }
        text
    }

    /// What `check` says.
    pub fn check(&self) -> String {
        told_by_check(self.run(&["check"]))
    }

    /// The same where no variable goes over the file.
    pub fn check_of_the_file_alone(&self) -> String {
        told_by_check(self.run_with(&["check"], []))
    }

    /// What `doctor` finds to be wrong.
    pub fn doctor(&self, arguments: &[&str]) -> String {
        let (code, stdout, stderr) = self.run(&[&["doctor", "--json"], arguments].concat());
        let report: Value = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stderr}"));
        let mut found = String::new();
        for examination in report["examinations"].as_array().unwrap() {
            let subject = examination["subject"].as_str().unwrap();
            for step in examination["steps"].as_array().unwrap() {
                let word = |name: &str| step[name].as_str();
                let outcome = word("outcome").unwrap();
                if outcome == "broken" || outcome == "doubtful" {
                    let (step, said) = (word("step").unwrap(), word("said").unwrap());
                    let _ = writeln!(found, "doctor: {subject}: {step} is {outcome}: {said}");
                    if let Some(next) = word("next") {
                        let _ = writeln!(found, "  next: {next}");
                    }
                }
            }
        }
        let healthy = report["healthy"].as_bool().unwrap();
        assert_eq!(code, Some(if healthy { 0 } else { 69 }), "{stdout}");
        assert!(!found.is_empty(), "nothing was found:\n{stdout}");
        found.trim_end().to_owned()
    }
}

fn told_by_check((code, stdout, stderr): (Option<i32>, String, String)) -> String {
    let warnings: Vec<_> = stdout
        .lines()
        .filter(|line| line.starts_with("Warning"))
        .collect();
    assert!(code == Some(78) || !warnings.is_empty(), "{stdout}{stderr}");
    format!("check: {}{}", stderr.trim_end(), warnings.join("\n"))
}

/// Takes out the number that stands between these words.
fn without_number(text: &str, before: &str, after: &str) -> String {
    let Some((head, tail)) = text.split_once(after) else {
        return text.to_owned();
    };
    let head = head.trim_end_matches(|c: char| c.is_ascii_digit());
    assert!(head.ends_with(before), "{text}");
    format!("{head}…{after}{tail}")
}
