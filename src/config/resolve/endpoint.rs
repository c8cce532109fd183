//! `token_endpoint`

use url::{Host, Url};

use super::super::decode::{Path, Report};
use super::required;

/// The address, if it is one to which a secret may be sent.
pub(super) fn token_endpoint(
    written: Option<String>,
    credential: &Path,
    report: &mut Report,
) -> Option<Url> {
    let path = credential.key("token_endpoint");
    let written = required(written, &path, TOKEN_ENDPOINT, report)?;
    let Ok(url) = Url::parse(&written) else {
        // Not shown: a secret may stand anywhere in it.
        report.add(&path, "something that is no address", TOKEN_ENDPOINT);
        return None;
    };
    let fault = endpoint_fault(&url);
    if let Some((found, expected)) = fault {
        report.add(&path, found, expected);
        return None;
    }
    Some(url)
}

/// What is wrong with the address of a token endpoint, and what it should be.
fn endpoint_fault(url: &Url) -> Option<(String, String)> {
    let bare = format!("{}{}", url.origin().ascii_serialization(), url.path());
    if !url.username().is_empty() || url.password().is_some() {
        return Some((
            "an address with a user name or password in it".into(),
            "the address alone; the client's own go into client_id and client_secret_file".into(),
        ));
    }
    if !matches!(url.scheme(), "https" | "http") || url.host().is_none() {
        return Some((
            format!("an address of the scheme {}", url.scheme()),
            TOKEN_ENDPOINT.into(),
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
    if cognito && url.path() != "/oauth2/token" {
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

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        // RFC 6761 §6.3 says the same of names below it, but not every resolver keeps to it.
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
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
