//! What providers fix, so that users need not look it up. A preset fills in keys that are not
//! written; every one that is written stands.

mod known;

use super::super::decode::{Path, Report};
use super::super::raw::Credential;
use super::one_of;
use known::PRESETS;

/// A provider that is known by name.
struct Preset {
    name: &'static str,
    /// The keys that make the token endpoint, each with what it is.
    needs: &'static [Need],
    /// The token endpoint, with the keys in braces.
    token_endpoint: &'static str,
    /// Fills in what else the provider wants to be different.
    fill: fn(&mut Credential),
    /// Reports what users of this provider usually get wrong.
    check: fn(&Credential, &Path, &mut Report),
}

/// A key that a preset needs.
struct Need {
    key: &'static str,
    expected: &'static str,
    /// What stands for it if it is not written.
    default: Option<&'static str>,
    /// What is put in its place, where that is not what is written.
    words: &'static [(&'static str, &'static str)],
}

impl Need {
    const fn new(key: &'static str, expected: &'static str) -> Self {
        Self {
            key,
            expected,
            default: None,
            words: &[],
        }
    }

    /// What is put into the address, if the key is written as it can be.
    fn value<'a>(&self, raw: &'a Credential, path: &Path, report: &mut Report) -> Option<&'a str> {
        let path = path.key(self.key);
        let Some(written) = value_of(raw, self.key).or(self.default) else {
            report.add(&path, "nothing", self.expected);
            return None;
        };
        let word = self.words.iter().find(|(word, _)| *word == written);
        match word {
            Some((_, meant)) => return Some(meant),
            None if self.words.is_empty() && is_plain(written) => return Some(written),
            None => {}
        }
        // A whole address may have a password in it.
        let found = match written.contains(['@', '?']) {
            true => "something else (not shown)".into(),
            false => format!("{written:?}"),
        };
        // Such as http://localhost:8180, which no preset makes of a host.
        let instead = match written.contains('/') {
            true => "; a whole address goes into token_endpoint instead",
            false => "",
        };
        report.add(&path, found, format!("{}{instead}", self.expected));
        None
    }
}

/// The providers that are known by name.
pub fn names() -> impl Iterator<Item = &'static str> {
    PRESETS.into_iter().map(|preset| preset.name)
}

/// Which environments there are, of all that have some.
pub(super) fn environments() -> impl Iterator<Item = &'static str> {
    let needs = PRESETS.into_iter().flat_map(|preset| preset.needs);
    let environments = needs.filter(|need| need.key == "environment");
    environments.flat_map(|need| super::words::names(need.words))
}

/// Fills in what the credential's preset knows. `false` if its token endpoint cannot be known,
/// which has been reported.
pub(super) fn apply(raw: &mut Credential, path: &Path, report: &mut Report) -> bool {
    let Some(name) = &raw.preset else {
        refuse_keys(raw, &[], "a key that only some presets use", path, report);
        return true;
    };
    let Some(preset) = PRESETS.iter().find(|preset| preset.name == name) else {
        let names = PRESETS.map(|preset| preset.name);
        report.add(
            &path.key("preset"),
            format!("{name:?}"),
            one_of(name, &names),
        );
        return false;
    };
    let unused = "a key that this preset does not use";
    refuse_keys(raw, preset.needs, unused, path, report);
    (preset.check)(raw, path, report);
    (preset.fill)(raw);
    if raw.token_endpoint.is_some() || raw.issuer.is_some() {
        return true;
    }
    raw.token_endpoint = preset.endpoint(raw, path, report);
    raw.token_endpoint.is_some()
}

impl Preset {
    fn endpoint(&self, raw: &Credential, path: &Path, report: &mut Report) -> Option<String> {
        let mut endpoint = Some(self.token_endpoint.to_owned());
        for need in self.needs {
            let value = need.value(raw, path, report);
            let place = format!("{{{}}}", need.key);
            endpoint = endpoint
                .zip(value)
                .map(|(endpoint, value)| endpoint.replace(&place, value));
        }
        endpoint
    }
}

/// Made of what hosts and names are made of; no scheme, no path.
fn is_plain(value: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    !value.is_empty() && value.chars().all(legal)
}

/// The keys that only presets use.
const KEYS: [&str; 5] = [
    "authorization_server",
    "domain",
    "environment",
    "realm",
    "tenant",
];

fn value_of<'a>(raw: &'a Credential, key: &str) -> Option<&'a str> {
    match key {
        "authorization_server" => raw.authorization_server.as_deref(),
        "domain" => raw.domain.as_deref(),
        "environment" => raw.environment.as_deref(),
        "realm" => raw.realm.as_deref(),
        "tenant" => raw.tenant.as_deref(),
        _ => None,
    }
}

fn refuse_keys(raw: &Credential, own: &[Need], found: &str, path: &Path, report: &mut Report) {
    for key in KEYS {
        if value_of(raw, key).is_some() && !own.iter().any(|need| need.key == key) {
            report.add(&path.key(key), found, "another key, or none");
        }
    }
}
