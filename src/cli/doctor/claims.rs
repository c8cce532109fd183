//! What a token says, against what it was asked for.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Map, Value};

use super::report::{Fault, Step, Walk};
use super::way::SET_THE_CLOCK;
use crate::oauth::ProviderSettings;
use crate::oauth::jwt_claims::{claims, scopes, words};
use crate::token::clock;

/// `None` if the upstream cannot be expected to take the token.
pub(super) fn judge(
    walk: &mut Walk,
    token: &str,
    provider: Option<&ProviderSettings>,
) -> Option<()> {
    let Some(claims) = claims(token) else {
        let said = "the token is no JWT: only its provider and the upstream can look into it";
        walk.note(Step::left_out("claims", said));
        return Some(());
    };
    let begins = claims.get("nbf").and_then(Value::as_u64);
    if let Some(begins) = begins
        && let Some(begins) = UNIX_EPOCH.checked_add(Duration::from_secs(begins))
        && clock::until(begins) > TOLERANCE
    {
        let from = humantime::format_rfc3339_seconds(begins);
        walk.note(Step::broken(
            "claims",
            Fault::new(
                format!("the token is good from {from} on, which is in the future by this machine's clock"),
                SET_THE_CLOCK,
            ),
        ));
        return None;
    }
    if let Some(provider) = provider
        && let Some(fault) = wrong_audience(&claims, provider)
    {
        walk.note(Step::broken("claims", fault));
        return None;
    }
    walk.note(Step::good("claims", summary(&claims)));
    if let Some(provider) = provider
        && let Some(fault) = missing_scopes(&claims, provider)
    {
        walk.note(Step::doubtful("claims", fault));
    }
    Some(())
}

fn summary(claims: &Map<String, Value>) -> String {
    let word = |name: &str| {
        let words = words(claims, name)?;
        Some(words.join(" ")).filter(|words| !words.is_empty())
    };
    let parts = [
        word("iss").map(|issuer| format!("issued by {issuer}")),
        word("aud").map(|audience| format!("for {audience}")),
        scopes(claims).map(|scopes| format!("with the scopes {}", scopes.join(" "))),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    match parts.as_slice() {
        [] => "the token says neither who issued it nor whom it is for".into(),
        parts => format!("the token is {}", parts.join(", ")),
    }
}

/// RFC 9068 §4: the upstream "MUST validate that the "aud" claim contains a resource indicator value
/// corresponding to an identifier the resource server expects for itself".
fn wrong_audience(claims: &Map<String, Value>, provider: &ProviderSettings) -> Option<Fault> {
    let request = &provider.request;
    let wanted: Vec<_> = request.audience.iter().chain(&request.resource).collect();
    let named = words(claims, "aud")?;
    let without_slash = |text: &str| text.trim_end_matches('/').to_owned();
    let fits = wanted.iter().any(|wanted| {
        named
            .iter()
            .any(|named| without_slash(named) == without_slash(wanted))
    });
    (!wanted.is_empty() && !fits).then(|| {
        let wanted: Vec<_> = wanted.iter().map(|wanted| wanted.as_str()).collect();
        Fault::new(
            format!(
                "the token is meant for {}, and was asked for with {}: upstreams refuse tokens that \
                 are meant for others",
                named.join(" "),
                wanted.join(" "),
            ),
            "check audience and resource, and what the provider lets this client have",
        )
    })
}

fn missing_scopes(claims: &Map<String, Value>, provider: &ProviderSettings) -> Option<Fault> {
    let granted = scopes(claims)?;
    let asked = provider.request.scope.as_deref()?;
    let missing: Vec<_> = asked
        .split([' ', ','])
        .filter(|scope| !scope.is_empty() && !is_for_the_provider(scope))
        .filter(|scope| !granted.iter().any(|granted| granted == scope))
        .collect();
    (!missing.is_empty()).then(|| {
        Fault::new(
            format!("the token lacks {}, which was asked for", missing.join(" ")),
            "have the provider grant it to this client, or take it out of scope",
        )
    })
}

/// Words that ask the provider for something else than a right at an upstream.
fn is_for_the_provider(scope: &str) -> bool {
    matches!(
        scope,
        "openid" | "profile" | "email" | "address" | "phone" | "offline_access"
    ) || scope.ends_with("/.default")
}

/// Providers and upstreams allow for so much.
const TOLERANCE: Duration = Duration::from_secs(60);
