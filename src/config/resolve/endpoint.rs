//! `token_endpoint`

use url::Url;

use super::super::decode::{Path, Report};
use super::required;
use crate::oauth::EndpointSettings;
use crate::oauth::transport::{bare, is_loopback};

/// Where tokens are asked for: at an address, or where an issuer says.
pub(super) fn of_provider(
    token_endpoint: Option<String>,
    issuer: Option<String>,
    credential: &Path,
    report: &mut Report,
) -> Option<EndpointSettings> {
    let Some(issuer) = issuer else {
        let path = credential.key("token_endpoint");
        let url = address(token_endpoint, &path, TOKEN_ENDPOINT, report)?;
        return Some(EndpointSettings::At(url));
    };
    let path = credential.key("issuer");
    if token_endpoint.is_some() {
        report.add(credential, "issuer and token_endpoint", "only one of them");
        return None;
    }
    let url = address(Some(issuer), &path, ISSUER, report)?;
    if let Some((before, _)) = url.path().split_once("/.well-known/") {
        let issuer = format!("{}{before}", url.origin().ascii_serialization());
        let expected = format!("{issuer:?}; gatepass finds the document by itself");
        report.add(&path, "the address of the issuer's document", expected);
        return None;
    }
    if url.query().is_some() {
        // RFC 8414 §2: "no query or fragment components".
        report.add(&path, "an address with a query", ISSUER);
        return None;
    }
    Some(EndpointSettings::OfIssuer(url))
}

/// An address, if it is one to which a secret may be sent.
pub(super) fn address(
    written: Option<String>,
    path: &Path,
    expected: &str,
    report: &mut Report,
) -> Option<Url> {
    let written = required(written, path, expected, report)?;
    let Ok(url) = Url::parse(&written) else {
        // Not shown: a secret may stand anywhere in it.
        report.add(path, "something that is no address", expected);
        return None;
    };
    if let Some((found, expected)) = fault(&url, expected) {
        report.add(path, found, expected);
        return None;
    }
    Some(url)
}

/// What is wrong with an address of a provider, and what it should be.
fn fault(url: &Url, expected: &str) -> Option<(String, String)> {
    let bare = bare(url);
    if !url.username().is_empty() || url.password().is_some() {
        return Some((
            "an address with a user name or password in it".into(),
            "the address alone; the client's own go into client_id and client_secret_file".into(),
        ));
    }
    if !matches!(url.scheme(), "https" | "http") || url.host().is_none() {
        return Some((
            format!("an address of the scheme {}", url.scheme()),
            expected.into(),
        ));
    }
    if url.scheme() == "http" && !is_loopback(url) {
        return Some((
            format!("{bare}, over which the client secret would travel in the clear"),
            "an address that begins with https:// (http:// is for loopback only)".into(),
        ));
    }
    let misplaced: Vec<_> = url
        .query_pairs()
        .map(|(name, _)| name.into_owned())
        .filter(|name| BODY_PARAMETERS.contains(&name.as_str()))
        .collect();
    if !misplaced.is_empty() {
        return Some((
            format!(
                "an address with {} in its query, which belongs in the body of the request",
                misplaced.join(", ")
            ),
            format!(
                "token_endpoint = \"{bare}\", and client_id, client_secret_file and scope as keys \
                 beside it; gatepass puts them where they belong"
            ),
        ));
    }
    let cognito = url
        .host_str()
        .is_some_and(|host| host.ends_with(".amazoncognito.com"));
    if cognito && expected == TOKEN_ENDPOINT && url.path() != "/oauth2/token" {
        return Some((
            format!("{bare}, where Cognito has no token endpoint"),
            format!("{}/oauth2/token", url.origin().ascii_serialization()),
        ));
    }
    if url.fragment().is_some() {
        // RFC 6749 §3.2: "The endpoint URI MUST NOT include a fragment component."
        return Some((format!("{bare} with a #fragment"), format!("{bare:?}")));
    }
    None
}

/// Parameters of a token request (RFC 6749, RFC 8707) that pasted addresses carry.
const BODY_PARAMETERS: [&str; 9] = [
    "grant_type",
    "client_id",
    "client_secret",
    "scope",
    "audience",
    "resource",
    "username",
    "password",
    "refresh_token",
];

const TOKEN_ENDPOINT: &str = "the provider's token endpoint, such as https://id.example/oauth2/token, or a preset that knows it";
const ISSUER: &str = "the provider's issuer, such as https://id.example";
