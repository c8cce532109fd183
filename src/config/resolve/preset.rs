//! What providers fix, so that users need not look it up. A preset fills in keys that are not
//! written; every one that is written stands.

use super::super::decode::{Path, Report};
use super::super::raw::Credential;
use super::super::scalar::SecretSource;
use super::choice;

/// A provider that is known by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Preset {
    Auth0,
    Cognito,
    Entra,
    Envase,
    ItcCompliance,
    Keycloak,
}

/// What a preset needs to know, by key.
const KEYS: [&str; 4] = ["domain", "environment", "realm", "tenant"];

impl Preset {
    const NAMES: [(&'static str, Self); 6] = [
        ("auth0", Self::Auth0),
        ("cognito", Self::Cognito),
        ("entra", Self::Entra),
        ("envase", Self::Envase),
        ("itc-compliance", Self::ItcCompliance),
        ("keycloak", Self::Keycloak),
    ];

    /// The keys that make the token endpoint, each with what it is.
    fn needs(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Auth0 => &[(
                "domain",
                "the tenant's domain, such as \"acme.eu.auth0.com\"",
            )],
            Self::Cognito => &[(
                "domain",
                "the user pool's domain, such as \"acme.auth.eu-west-1.amazoncognito.com\"",
            )],
            Self::Entra => &[("tenant", "the directory's identifier or domain")],
            Self::Envase => &[("environment", "one of development, staging, production")],
            Self::ItcCompliance => &[("domain", "the host of compliance-auth")],
            Self::Keycloak => &[
                ("domain", "the server's host, such as \"id.example\""),
                ("realm", "the realm's name"),
            ],
        }
    }

    fn token_endpoint(self, values: &[&str]) -> Option<String> {
        Some(match (self, values) {
            (Self::Auth0 | Self::ItcCompliance, [domain]) => {
                format!("https://{domain}/oauth/token")
            }
            (Self::Cognito, [domain]) => format!("https://{domain}/oauth2/token"),
            (Self::Entra, [tenant]) => {
                format!("https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token")
            }
            (Self::Envase, [environment]) => {
                let (_, pool) = ENVASE_POOLS.iter().find(|(name, _)| name == environment)?;
                format!("https://{pool}.auth.us-east-1.amazoncognito.com/oauth2/token")
            }
            (Self::Keycloak, [domain, realm]) => {
                format!("https://{domain}/realms/{realm}/protocol/openid-connect/token")
            }
            _ => return None,
        })
    }

    /// What else the provider wants to be different.
    fn fill(self, raw: &mut Credential) {
        let method = &mut raw.token_endpoint_auth_method;
        match self {
            Self::Auth0 | Self::Entra => {
                method.get_or_insert_with(|| "client_secret_post".into());
            }
            Self::ItcCompliance => {
                method.get_or_insert_with(|| "client_secret_post".into());
                raw.body_format.get_or_insert_with(|| "json".into());
                if !raw
                    .headers
                    .keys()
                    .any(|name| name.eq_ignore_ascii_case("accept"))
                {
                    let version = SecretSource::Value("application/json; version=2".into());
                    raw.headers.insert("accept".into(), version);
                }
            }
            Self::Cognito | Self::Envase | Self::Keycloak => {}
        }
    }

    /// What users of this provider usually get wrong.
    fn check(self, raw: &Credential, path: &Path, report: &mut Report) {
        match self {
            Self::Auth0 if raw.audience.as_ref().is_none_or(String::is_empty) => report.add(
                &path.key("audience"),
                "nothing",
                "the identifier of the API, without which Auth0 hands out no token",
            ),
            Self::Entra if raw.scope.is_none() => report.add(
                &path.key("scope"),
                "nothing",
                "the API's scope, such as \"api://orders/.default\"",
            ),
            Self::Entra => {
                let scopes = raw.scope.iter().flat_map(|scope| &scope.0);
                let wrong = scopes.flat_map(|text| text.split_whitespace());
                if let Some(scope) = wrong
                    .into_iter()
                    .find(|scope| !scope.ends_with("/.default"))
                {
                    report.add(
                        &path.key("scope"),
                        format!("{scope:?}"),
                        format!(
                            "\"{scope}/.default\", the only form that Entra grants to services"
                        ),
                    );
                }
            }
            _ => {}
        }
    }
}

/// Fills in what the credential's preset knows. `false` if its token endpoint cannot be known,
/// which has been reported.
pub(super) fn apply(raw: &mut Credential, path: &Path, report: &mut Report) -> bool {
    let key = path.key("preset");
    let preset = match choice(raw.preset.as_deref(), &Preset::NAMES, &key, report) {
        Some(Some(preset)) => preset,
        Some(None) => {
            refuse_keys(raw, &[], "a key that only some presets use", path, report);
            return true;
        }
        None => return false,
    };
    let own: Vec<_> = preset.needs().iter().map(|(key, _)| *key).collect();
    refuse_keys(
        raw,
        &own,
        "a key that this preset does not use",
        path,
        report,
    );
    preset.check(raw, path, report);
    preset.fill(raw);
    if raw.token_endpoint.is_some() {
        return true;
    }
    raw.token_endpoint = token_endpoint(preset, raw, path, report);
    raw.token_endpoint.is_some()
}

fn token_endpoint(
    preset: Preset,
    raw: &Credential,
    path: &Path,
    report: &mut Report,
) -> Option<String> {
    let mut values = Vec::new();
    for (key, expected) in preset.needs() {
        match value_of(raw, key) {
            Some(value) if is_plain(value) => values.push(value),
            // A whole address may have a password in it.
            Some(value) if value.contains(['@', '?']) => {
                report.add(&path.key(key), "something else (not shown)", *expected);
            }
            Some(value) => report.add(&path.key(key), format!("{value:?}"), *expected),
            None => report.add(&path.key(key), "nothing", *expected),
        }
    }
    if values.len() < preset.needs().len() {
        return None;
    }
    let endpoint = preset.token_endpoint(&values);
    if endpoint.is_none() {
        for (key, expected) in preset.needs() {
            let found = value_of(raw, key).unwrap_or_default();
            report.add(&path.key(key), format!("{found:?}"), *expected);
        }
    }
    endpoint
}

/// Made of what hosts and names are made of; no scheme, no path.
fn is_plain(value: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    !value.is_empty() && value.chars().all(legal)
}

fn value_of<'a>(raw: &'a Credential, key: &str) -> Option<&'a str> {
    match key {
        "domain" => raw.domain.as_deref(),
        "environment" => raw.environment.as_deref(),
        "realm" => raw.realm.as_deref(),
        "tenant" => raw.tenant.as_deref(),
        _ => None,
    }
}

fn refuse_keys(raw: &Credential, own: &[&str], found: &str, path: &Path, report: &mut Report) {
    for key in KEYS {
        if value_of(raw, key).is_some() && !own.contains(&key) {
            report.add(&path.key(key), found, "another key, or none");
        }
    }
}

/// One Cognito user pool for each environment.
const ENVASE_POOLS: [(&str, &str); 3] = [
    ("development", "envase-dev"),
    ("staging", "envase-stg"),
    ("production", "envase"),
];
