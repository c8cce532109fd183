//! A provider that is asked for tokens: where it is, how it is reached, what is asked.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::super::super::decode::{Path, Report};
use super::super::super::raw;
use super::super::super::scalar::value_or;
use super::super::{TrustedRoots, any_of, endpoint, required, secret, trust};
use super::way::Way;
use super::{client, grant, request};
use crate::oauth::transport::{bare, is_loopback};
use crate::oauth::{
    EndpointSettings, Grant, ProviderSettings, TransportSettings, VerificationSettings,
};
use crate::store::SessionFile;

pub(super) fn provider(
    way: Way,
    mut raw: raw::Credential,
    endpoint_is_known: bool,
    path: &Path,
    roots: &mut TrustedRoots,
    report: &mut Report,
) -> Option<ProviderSettings> {
    let endpoint = match endpoint_is_known {
        true => endpoint::of_provider(raw.token_endpoint.take(), raw.issuer.take(), path, report),
        false => None,
    };
    let client = client::client(way, &mut raw, path, report);
    let grant = grant::grant(way, &mut raw, path, report);
    let request = request::request(&mut raw, path, report);
    let session_file = session_file(raw.session_file.take(), &path.key("session_file"), report);
    let verification = verification(raw.verify.take(), endpoint.as_ref(), path, report);
    let egress_proxy = egress_proxy(raw.egress_proxy.take(), &path.key("egress_proxy"), report);
    let called = called(endpoint.as_ref(), grant.as_ref(), verification.as_ref());
    let plain_http = called.iter().any(|url| url.scheme() == "http");
    if plain_http
        && let Some(Some(proxy)) = &egress_proxy
        && !is_loopback(proxy)
    {
        report.add(
            &path.key("egress_proxy"),
            "a proxy on another machine for an address without TLS",
            "none, or https:// for the provider: secrets would travel in the clear",
        );
    }
    let proxied = egress_proxy.iter().flatten();
    let all_plain = called
        .iter()
        .chain(proxied)
        .all(|url| url.scheme() == "http");
    let scheme = if all_plain { "http" } else { "https" };
    trust::refuse_server_name(&raw.tls, "a provider's", path, report);
    let tls = roots.config(scheme, &raw.tls, path, report);
    if let (Some(EndpointSettings::At(url)), Some(Grant::IdentityToolkit { .. })) =
        (&endpoint, &grant)
        && url.query_pairs().any(|(name, _)| name == "key")
    {
        report.add(
            &path.key("token_endpoint"),
            "an address with a key in its query",
            format!("{:?}, and the key in api_key_file", bare(url)),
        );
    }
    let client = client?;
    Some(ProviderSettings {
        endpoint: endpoint?,
        grant: grant?,
        client_id: client.id,
        client_authentication: client.authentication,
        previous_client_secret: client.previous_secret,
        request: request?,
        session_file: session_file?,
        verification: verification?,
        transport: TransportSettings {
            timeout: value_or(raw.timeout, DEFAULT_TIMEOUT),
            tls: tls?,
            egress_proxy: egress_proxy?,
            plain_http,
        },
    })
}

/// The addresses of the provider that are called. Without TLS they can only be on this machine.
fn called(
    endpoint: Option<&EndpointSettings>,
    grant: Option<&Grant>,
    verification: Option<&Option<VerificationSettings>>,
) -> Vec<Url> {
    let endpoint = endpoint.map(EndpointSettings::address);
    let refresh_endpoint = grant.and_then(Grant::refresh_endpoint);
    let verification = verification.and_then(Option::as_ref);
    let key_set = verification.and_then(|verification| verification.key_set.as_ref());
    let all = [endpoint, refresh_endpoint, key_set];
    all.into_iter().flatten().cloned().collect()
}

fn session_file(
    written: Option<String>,
    path: &Path,
    report: &mut Report,
) -> Option<Option<PathBuf>> {
    let Some(file) = written else {
        return Some(None);
    };
    let file = required(Some(file), path, SESSION_FILE, report)?;
    secret::refuse_unexpanded(&file, path, report)?;
    let found = match SessionFile::new(PathBuf::from(&file)).check_blocking() {
        Ok(()) => return Some(Some(file.into())),
        Err(error) if secret::is_surely_a_path(&file) => error.to_string(),
        Err(_) => secret::NO_SURE_TOKEN_PATH.into(),
    };
    report.add(path, found, SESSION_FILE);
    None
}

fn verification(
    written: Option<raw::Verify>,
    endpoint: Option<&EndpointSettings>,
    credential: &Path,
    report: &mut Report,
) -> Option<Option<VerificationSettings>> {
    let Some(written) = written else {
        return Some(None);
    };
    let path = credential.key("verify").key("jwks_uri");
    let key_set = match written.jwks_uri {
        Some(address) => Some(endpoint::address(Some(address), &path, KEY_SET, report)?),
        None => None,
    };
    if key_set.is_none() && !matches!(endpoint, None | Some(EndpointSettings::OfIssuer(_))) {
        let expected = format!("{KEY_SET}; or issuer in the place of token_endpoint");
        report.add(&path, "nothing", expected);
        return None;
    }
    let of_audience = credential.key("verify").key("audience");
    let audience = any_of(written.audience, &of_audience, report)?;
    let by_issuer = matches!(endpoint, Some(EndpointSettings::OfIssuer(_)));
    if written.issuer.is_none() && audience.is_empty() && !by_issuer {
        // Many tenants of one provider share its keys.
        report.add(
            &credential.key("verify"),
            "neither issuer nor audience, so that any token with the provider's signature passes",
            "who must have issued the token (issuer), whom it must be meant for (audience), or both",
        );
        return None;
    }
    Some(Some(VerificationSettings {
        key_set,
        issuer: written.issuer,
        audience,
    }))
}

/// A password may stand in it, so it is not shown.
fn egress_proxy(
    written: Option<SecretString>,
    path: &Path,
    report: &mut Report,
) -> Option<Option<Url>> {
    let Some(written) = written else {
        return Some(None);
    };
    let url = Url::parse(written.expose_secret()).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if url.is_none() {
        report.add(
            path,
            "something that is no address of an HTTP proxy (not shown)",
            "an address such as \"http://proxy.example:3128\"",
        );
    }
    url.map(Some)
}

const SESSION_FILE: &str =
    "a file of gatepass's own, or the name of one in a directory that is there";

const KEY_SET: &str = "where the provider publishes its keys, such as https://id.example/jwks";

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
