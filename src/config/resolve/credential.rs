//! `[credentials.NAME]`

mod client;
mod grant;
mod provider;
mod request;
mod way;

use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderName;
use http::header::AUTHORIZATION;

use super::super::decode::{Path, Report};
use super::super::raw;
use super::super::scalar::{Count, Share, value_or};
use super::words::names;
use super::{
    LEGAL_NAME, TrustedRoots, at_most_u32, choice, endpoint, is_legal_name, preset, revision,
    route, secret, store,
};
use crate::oauth::{AnswerSettings, Origin, Secret, Settings, SigningAlgorithm, TokenLocation};
use crate::store::MOST_PER_HOUR;
use crate::token::schedule::Spread;
use crate::token::{RefusalSettings, RefusedBy};
use way::Way;

/// Resolves the credentials; none if any of them has a mistake.
pub(super) fn resolve(
    raw: BTreeMap<String, raw::Credential>,
    roots: &mut TrustedRoots,
    report: &mut Report,
) -> Option<Vec<Settings>> {
    let resolved: Vec<_> = raw
        .into_iter()
        .map(|(name, raw)| credential(name, raw, roots, report))
        .collect();
    resolved.into_iter().collect()
}

fn credential(
    name: String,
    mut raw: raw::Credential,
    roots: &mut TrustedRoots,
    report: &mut Report,
) -> Option<Settings> {
    let path = Path::new(["credentials", &name]);
    check_name(&name, &path, report);
    let store = raw.store.take().filter(|store| store != store::MEMORY);
    let per_hour = raw.token_requests_per_hour.map(|wanted| {
        let key = path.key("token_requests_per_hour");
        at_most_u32(MOST_PER_HOUR, wanted, &key, report)
    });
    let spread = raw
        .spread
        .map_or_else(Spread::default, |Share(part)| Spread::over(part));
    let revision = revision::of_table(report, &path, &raw.tls, &[]);
    let endpoint_is_known = preset::apply(&mut raw, &path, report);
    let way = Way::of(&raw, &path, report);
    if way.is_some_and(Way::is_login) {
        if store.is_none() {
            report.add(
                &path.key("store"),
                "nothing",
                "the name of a store, in which `gatepass login` leaves the session",
            );
        }
        if way == Some(Way::Implicit) && raw.issuer.is_none() {
            // There is no other address of the provider.
            raw.token_endpoint = raw.authorization_endpoint.clone();
        }
    }
    let answer = answer(way, &mut raw, &path, report);
    let scheme = scheme(raw.scheme.take(), &path.key("scheme"), report);
    let refusals = refusals(
        raw.refresh_on_401.as_deref(),
        raw.refreshes_on_401_per_minute,
        &path,
        report,
    );
    let origin = match way {
        None => {
            // What else is wrong depends on the way, but for this.
            endpoint::of_provider(raw.token_endpoint, raw.issuer, &path, report);
            None
        }
        Some(Way::TokenFile) => token_file(raw.token_file, &path, report),
        Some(way) => {
            let provider = provider::provider(way, raw, endpoint_is_known, &path, roots, report);
            provider.map(|provider| Origin::Provider(Box::new(provider)))
        }
    };
    Some(Settings {
        credential: name,
        revision,
        origin: origin?,
        answer: answer?,
        scheme: scheme?,
        refusals: refusals?,
        store,
        spread,
        token_requests_per_hour: per_hour,
    })
}

/// A credential names a store that is there, or none.
pub(super) fn known_stores(credentials: &BTreeMap<String, raw::Credential>, report: &mut Report) {
    for (name, raw) in credentials {
        let table = Path::new(["credentials", name]);
        let store = raw.store.as_deref().filter(|store| *store != store::MEMORY);
        let Some(store) = store else {
            continue;
        };
        if !report.is_written(&Path::new(["stores", store])) {
            report.add(
                &table.key("store"),
                format!("{store:?}, of which there is no table"),
                format!("the name of a store, with a table [stores.{store}]; or \"memory\""),
            );
        }
        if raw.session_file.is_some() {
            report.add(
                &table.key("session_file"),
                "a file beside a store, which keeps the refresh token as well",
                "only one of store and session_file",
            );
        }
        // Whose tokens these are stands in a file, which another replica may have otherwise.
        for key in ["assertion_file", "subject_token_file"] {
            if report.is_written(&table.key(key)) {
                report.add(
                    &table.key("store"),
                    format!("a store for tokens that depend on what {key} holds"),
                    "no store: each replica may act for somebody else",
                );
            }
        }
    }
}

/// The words of a key that takes one of a few; none if it takes any text.
pub(super) fn words(key: &str) -> Vec<&'static str> {
    match key {
        "grant_type" => names(&Way::NAMES),
        "token_endpoint_auth_method" => names(&client::METHODS),
        "body_format" => names(&request::BODY_FORMATS),
        "signing_algorithm" => names(&SigningAlgorithm::NAMES),
        "refresh_on_401" => names(&RefusedBy::NAMES),
        _ => Vec::new(),
    }
}

/// Two sessions in one file would overwrite each other's refresh tokens.
pub(super) fn distinct_session_files(
    credentials: &BTreeMap<String, raw::Credential>,
    report: &mut Report,
) {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, raw) in credentials {
        let Some(file) = raw.session_file.as_deref() else {
            continue;
        };
        if let Some(other) = seen.insert(file, name) {
            report.add(
                &Path::new(["credentials", name, "session_file"]),
                format!("{file}, which credential \"{other}\" has already"),
                "a file of its own for each session",
            );
        }
    }
}

fn token_file(written: Option<String>, path: &Path, report: &mut Report) -> Option<Origin> {
    let path = path.key("token_file");
    let file = super::required(
        written,
        &path,
        "the file that somebody writes tokens to",
        report,
    )?;
    match secret::file_of_others(file, &path, report)? {
        Secret::File(file, _) => Some(Origin::File(file)),
        Secret::Value(_) => None,
    }
}

fn answer(
    way: Option<Way>,
    raw: &mut raw::Credential,
    path: &Path,
    report: &mut Report,
) -> Option<AnswerSettings> {
    let written = raw.token_field.take().map(|fields| fields.0);
    let json = |name: &str| TokenLocation::Json(format!("/{name}"));
    let usual = match way {
        Some(Way::TokenFile) => vec![TokenLocation::WholeBody],
        Some(Way::IdentityToolkit) => vec![json("id_token"), json("idToken")],
        // There is no standard for it; these are in use.
        Some(Way::HttpBasic) => ["id_token", "idToken", "access_token", "token"]
            .map(json)
            .into_iter()
            .chain([TokenLocation::WholeBody])
            .collect(),
        _ => vec![TokenLocation::default()],
    };
    // RFC 8693 §2.2.1: "If the requested token is not an access token or usable as an access token,
    // then the token_type value N_A is used".
    let usual_type = match raw.requested_token_type {
        Some(_) => "any",
        None => "Bearer",
    };
    let token_type = raw.token_type.take().unwrap_or_else(|| usual_type.into());
    Some(AnswerSettings {
        token: token_locations(written, usual, &path.key("token_field"), report)?,
        token_type: Some(token_type).filter(|kind| kind != "any"),
        default_lifetime: value_or(raw.default_lifetime, DEFAULT_LIFETIME),
    })
}

fn check_name(name: &str, path: &Path, report: &mut Report) {
    if name == super::route::NO_CREDENTIAL {
        report.add(
            path,
            "the name \"none\"",
            "another one; it is the word of routes that add no token",
        );
    } else if !is_legal_name(name) {
        report.add(path, format!("the name {name:?}"), LEGAL_NAME);
    }
}

fn refusals(
    refused_by: Option<&str>,
    per_minute: Option<Count>,
    path: &Path,
    report: &mut Report,
) -> Option<RefusalSettings> {
    let defaults = RefusalSettings::default();
    let key = path.key("refresh_on_401");
    let refused_by = choice(refused_by, &RefusedBy::NAMES, &key, report);
    let per_minute = per_minute.map(|wanted| {
        let key = path.key("refreshes_on_401_per_minute");
        at_most_u32(MOST_REFRESHES, wanted, &key, report)
    });
    Some(RefusalSettings {
        refused_by: refused_by?.unwrap_or(defaults.refused_by),
        per_minute: per_minute.unwrap_or(defaults.per_minute),
    })
}

/// The field that carries the credential's tokens.
pub(super) fn token_header(
    name: &str,
    raw: &raw::Credential,
    report: &mut Report,
) -> Option<HeaderName> {
    let Some(written) = &raw.header else {
        return Some(AUTHORIZATION);
    };
    let header = HeaderName::try_from(written).ok();
    let header = header.filter(|header| !route::OWN_HEADERS.contains(&header.as_str()));
    if header.is_none() {
        report.add(
            &Path::new(["credentials", name, "header"]),
            format!("{written:?}"),
            "the name of a header field, such as \"x-id-token\"",
        );
    }
    header
}

/// Each a name, a JSON pointer, or the word for a body that is the token.
fn token_locations(
    written: Option<Vec<String>>,
    usual: Vec<TokenLocation>,
    path: &Path,
    report: &mut Report,
) -> Option<Vec<TokenLocation>> {
    let Some(written) = written else {
        return Some(usual);
    };
    if written.is_empty() || written.iter().any(String::is_empty) {
        report.add(path, "an empty list or string", TOKEN_FIELD);
        return None;
    }
    let location = |written: String| match written.as_str() {
        "." => TokenLocation::WholeBody,
        pointer if pointer.starts_with('/') => TokenLocation::Json(written),
        name => TokenLocation::Json(format!("/{name}")),
    };
    Some(written.into_iter().map(location).collect())
}

/// RFC 9110 §11.1: "auth-scheme = token".
fn scheme(written: Option<String>, path: &Path, report: &mut Report) -> Option<String> {
    let scheme = written.unwrap_or_else(|| "Bearer".into());
    let legal = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if !scheme.chars().all(legal) {
        report.add(
            path,
            format!("{scheme:?}"),
            "one word, such as \"Bearer\", or \"\" for none",
        );
        return None;
    }
    Some(scheme)
}

const TOKEN_FIELD: &str = "a name such as \"id_token\", a JSON pointer such as \"/data/token\", \
                           or \".\" if the whole body is the token";

/// One a second is what the refresher does at most.
const MOST_REFRESHES: u32 = 60;

/// Shorter than what providers usually grant: a token that lives longer is only refreshed early.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(300);
