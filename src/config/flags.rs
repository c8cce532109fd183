//! What the command line says: the layer over all others.

use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

use super::layers::variable;
use super::problem::Problem;

/// The settings that have a flag.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--listen`
    pub listen: Vec<String>,
    /// `--admin-listen`
    pub admin_listen: Option<String>,
    /// `--profile`: the one of the file that goes over the rest of it.
    pub profile: Option<String>,
    /// `--upstream` and what its tokens are got with, which makes a file needless.
    pub route: Option<OneRoute>,
}

/// The one route of a configuration without a file, and its credential.
#[derive(Debug, Clone, Default)]
pub struct OneRoute {
    /// `--upstream`
    pub upstream: Option<String>,
    /// The credential's keys, of those in [`CREDENTIAL_KEYS`], and what they are. None is a secret.
    pub credential: Vec<(&'static str, String)>,
}

/// The keys of a credential that have a flag: `--client-id` for `client_id`. Those for secrets
/// themselves have none, because others on the machine can read a process's arguments.
pub const CREDENTIAL_KEYS: [&str; 18] = [
    "preset",
    "environment",
    "domain",
    "tenant",
    "realm",
    "token_endpoint",
    "issuer",
    "grant_type",
    "client_id",
    "client_secret_file",
    "private_key_file",
    "service_account_file",
    "username",
    "password_file",
    "api_key_file",
    "scope",
    "audience",
    "token_file",
];

impl Provider for Flags {
    fn metadata(&self) -> Metadata {
        Metadata::named(COMMAND_LINE).interpolater(|_, keys| match keys {
            ["proxy", "listen", ..] => "--listen".into(),
            ["admin", ..] => "--admin-listen".into(),
            ["routes", _, "upstream"] => "--upstream".into(),
            ["credentials", _, key] if CREDENTIAL_KEYS.contains(key) => flag(key),
            _ => COMMAND_LINE.into(),
        })
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        let mut root = Dict::new();
        let mut table = |name: &str, key: &str, value: Value| {
            let table = Dict::from([(key.to_owned(), value)]);
            root.insert(name.to_owned(), table.into());
        };
        if !self.listen.is_empty() {
            table("proxy", "listen", self.listen.clone().into());
        }
        if let Some(listen) = &self.admin_listen {
            table("admin", "listen", listen.as_str().into());
        }
        if let Some(OneRoute {
            upstream,
            credential,
        }) = &self.route
        {
            let pairs = |pairs: &mut dyn Iterator<Item = (&str, &str)>| -> Dict {
                let pairs = pairs.map(|(key, value)| (key.to_owned(), Value::from(value)));
                pairs.collect()
            };
            let keys = credential.iter().map(|(key, value)| (*key, value.as_str()));
            table("credentials", ONLY_CREDENTIAL, pairs(&mut { keys }).into());
            let upstream = upstream
                .iter()
                .map(|upstream| ("upstream", upstream.as_str()));
            let others = [("path", "/"), ("credential", ONLY_CREDENTIAL)];
            let route: Value = pairs(&mut upstream.chain(others)).into();
            root.insert("routes".to_owned(), vec![route].into());
        }
        Ok(Profile::Default.collect(root))
    }
}

/// A mistake as one reads it who has written flags.
pub(super) fn told_by_flags(problem: Problem) -> Problem {
    // What a flag takes may be called as a key is.
    let is_of_words = problem.expected.starts_with("one of ");
    let expected = match is_of_words {
        true => problem.expected,
        false => in_flags(&problem.expected).replace("another key", "another flag"),
    };
    let has_no_flag = problem.source == COMMAND_LINE && !problem.key.is_empty();
    let expected = match has_no_flag {
        true => {
            let keys: Vec<_> = problem.key.split('.').collect();
            let variable = variable(&keys);
            format!("{expected}; there is no flag for it: set {variable}, or write a file")
        }
        false => expected,
    };
    let found = match problem.found.strip_prefix("a key that ") {
        Some(does) => format!("a flag that {}", in_flags(does)),
        None => problem.found,
    };
    Problem {
        found,
        expected,
        ..problem
    }
}

/// A text with flags in the place of keys, and of `key = "value"`. Keys of one word are words of the
/// language as well, and stay.
fn in_flags(text: &str) -> String {
    let mut told = String::new();
    let mut rest = text;
    while let Some(begin) = rest.find(is_of_key) {
        let (before, from) = rest.split_at(begin);
        let (word, after) = from.split_at(from.find(|c| !is_of_key(c)).unwrap_or(from.len()));
        told.push_str(before);
        rest = after;
        if !(word.contains('_') && CREDENTIAL_KEYS.contains(&word)) {
            told.push_str(word);
            continue;
        }
        told.push_str(&flag(word));
        let value = after.strip_prefix(" = \"");
        if let Some((value, after)) = value.and_then(|value| value.split_once('"')) {
            told.push(' ');
            told.push_str(value);
            rest = after;
        }
    }
    told + rest
}

fn is_of_key(c: char) -> bool {
    c.is_ascii_lowercase() || c == '_'
}

/// The flag of a credential's key.
fn flag(key: &str) -> String {
    format!("--{}", key.replace('_', "-"))
}

/// The name of the layer.
pub(super) const COMMAND_LINE: &str = "command line";

/// What the only credential is called.
pub const ONLY_CREDENTIAL: &str = "default";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_flags() {
        for (told, by_flags) in [
            (
                "client_id, or token_endpoint",
                "--client-id, or --token-endpoint",
            ),
            (
                "no secret with grant_type = \"implicit\", or",
                "no secret with --grant-type implicit, or",
            ),
            (
                "check scope; client_secret_env",
                "check scope; client_secret_env",
            ),
            ("client_id = \"", "--client-id = \""),
            ("", ""),
        ] {
            assert_eq!(in_flags(told), by_flags);
        }
    }
}
