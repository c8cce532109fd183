//! What a key that gatepass does not know was meant to be.
//!
//! Others call the same things by other names, which may be nearer to a wrong key than to the right one:
//! `token_url` is two letters from `token_file`, and means `token_endpoint`.

use super::problem::near_miss;
use super::raw;
use super::reference::{Described, Kind};

/// What is to stand in the place of a key, the last of these, in a table that knows these.
pub(super) fn correction(path: &[String], known: &[&str]) -> String {
    let Some((key, tables)) = path.split_last() else {
        return one_of(known);
    };
    let plain = plain(key);
    if let Some(why) = not_offered(&plain, tables) {
        return why.into();
    }
    let meant = same(&plain, known)
        .or_else(|| synonym(&plain, known))
        .map(ToOwned::to_owned)
        .or_else(|| deeper(&plain, tables))
        .or_else(|| near_miss(key, known.iter().copied()).map(ToOwned::to_owned));
    match (meant, elsewhere(&plain)) {
        (Some(meant), _) => format!("another key; did you mean {meant}?"),
        (None, Some(place)) => format!("a key of this table; {key} stands in {place}"),
        (None, None) => one_of(known),
    }
}

fn one_of(known: &[&str]) -> String {
    format!("one of {}", known.join(", "))
}

/// `clientId`, `client-id` and `client_id` are one word.
fn plain(key: &str) -> String {
    let letters = key.chars().filter(|c| !matches!(c, '_' | '-' | '.'));
    letters.collect::<String>().to_lowercase()
}

fn same<'a>(plain_key: &str, known: &[&'a str]) -> Option<&'a str> {
    known.iter().copied().find(|key| plain(key) == plain_key)
}

/// What the same thing is called here. The same word may mean several things, each in its own table.
fn synonym(plain_key: &str, known: &[&str]) -> Option<&'static str> {
    let means = |(words, meant): &(&[&str], &'static str)| {
        let table = meant.split('.').next().unwrap_or_default();
        (words.contains(&plain_key) && known.contains(&table)).then_some(*meant)
    };
    SYNONYMS.iter().find_map(means)
}

/// What others have and gatepass has not, which no other key makes up for.
fn not_offered(plain_key: &str, tables: &[String]) -> Option<&'static str> {
    let is_in = |table: &str| tables.iter().any(|name| name == table);
    let trusts_all = match plain_key {
        // Of a credential, it checks tokens.
        "verify" => is_in("tls") || is_in("routes"),
        _ => TRUST_ALL.contains(&plain_key),
    };
    if trusts_all {
        Some(VERIFIED)
    } else if is_in("routes") && FORWARD_PROXIES.contains(&plain_key) {
        Some(DIRECT)
    } else {
        None
    }
}

/// The key of a table within this one: `ca_file` of a route stands in its `tls`.
fn deeper(plain_key: &str, tables: &[String]) -> Option<String> {
    let Kind::Table(keys) = kind_at(tables)? else {
        return None;
    };
    keys.iter().find_map(|table| match &table.kind {
        Kind::Table(inner) => {
            let inner = inner.iter().find(|key| plain(key.name) == plain_key)?;
            Some(format!("{}.{}", table.name, inner.name))
        }
        _ => None,
    })
}

/// The one table of the file that has this key, as one writes it.
fn elsewhere(plain_key: &str) -> Option<String> {
    let mut places = raw::Config::KEYS.iter().filter_map(|table| {
        let (place, _, Kind::Table(keys)) = table.opened() else {
            return None;
        };
        let has_it = keys.iter().any(|key| plain(key.name) == plain_key);
        has_it.then_some(place)
    });
    let first = places.next()?;
    places.next().is_none().then_some(first)
}

/// The path of the key that a variable is called after, its parts separated by no more than an underscore.
///
/// Nothing but whole keys: a Kubernetes Service called `gatepass-proxy` puts `GATEPASS_PROXY_PORT` and
/// `GATEPASS_PROXY_SERVICE_HOST` into every pod.
pub(super) fn path_of(variable: &str) -> Option<Vec<String>> {
    let lower = variable.to_lowercase();
    let words: Vec<_> = lower.split('_').filter(|word| !word.is_empty()).collect();
    path_in(&raw::Config::KIND, &words)
}

fn path_in(kind: &Kind, words: &[&str]) -> Option<Vec<String>> {
    let is_of_tables = matches!(kind, Kind::Table(_) | Kind::Named(_) | Kind::List(_));
    if words.is_empty() {
        return (!is_of_tables).then(Vec::new);
    }
    (1..=words.len()).find_map(|count| {
        let (first, rest) = words.split_at(count);
        let name = first.join("_");
        let inner = match kind {
            Kind::Table(keys) => &keys.iter().find(|key| key.name == name)?.kind,
            Kind::Named(inner) => inner,
            _ => return None,
        };
        let mut path = path_in(inner, rest)?;
        path.insert(0, name);
        Some(path)
    })
}

/// What may stand at a path.
fn kind_at(path: &[String]) -> Option<&'static Kind> {
    let mut kind = &raw::Config::KIND;
    for part in path {
        kind = match kind {
            Kind::Table(keys) => &keys.iter().find(|key| key.name == part)?.kind,
            Kind::Named(inner) | Kind::List(inner) => inner,
            _ => return None,
        };
    }
    Some(kind)
}

const TRUST_ALL: [&str; 10] = [
    "insecure",
    "insecureskipverify",
    "insecureskiptlsverify",
    "rejectunauthorized",
    "skipverify",
    "skiptlsverify",
    "sslinsecureskipverify",
    "sslverify",
    "tlsskipverify",
    "verifyssl",
];
const VERIFIED: &str = "nothing: certificates are always verified; name a private authority with tls.ca_file, \
                        and another name in the certificate with a route's tls.server_name";

const FORWARD_PROXIES: [&str; 6] = [
    "egressproxy",
    "forwardproxy",
    "httpproxy",
    "httpsproxy",
    "proxy",
    "proxyurl",
];
const DIRECT: &str = "nothing: routes go to their upstream directly; egress_proxy is for a credential's way to \
                      its provider";

/// What other products, and the registries of other protocols, call things; without the marks between
/// their words.
const SYNONYMS: [(&[&str], &str); 33] = [
    (
        &[
            "tokenurl",
            "tokenuri",
            "tokenendpointurl",
            "tokenendpointuri",
            "accesstokenurl",
            "accesstokenuri",
            "oauthtokenurl",
            "oauth2tokenurl",
        ],
        "token_endpoint",
    ),
    (
        &[
            "authurl",
            "authuri",
            "authendpoint",
            "authorizationurl",
            "authorizationuri",
            "authorizationendpointurl",
            "authorizeurl",
            "authorizeendpoint",
        ],
        "authorization_endpoint",
    ),
    (
        &["deviceauthurl", "deviceauthorizationurl", "devicecodeurl"],
        "device_authorization_endpoint",
    ),
    (
        &["revocationurl", "revokeurl", "revokeendpoint"],
        "revocation_endpoint",
    ),
    (
        &[
            "issueruri",
            "issuerurl",
            "authority",
            "discoveryurl",
            "wellknownurl",
        ],
        "issuer",
    ),
    (&["jwksurl", "jwksendpoint"], "jwks_uri"),
    (&["jwksurl", "jwksendpoint"], "verify.jwks_uri"),
    (&["redirecturl", "callbackurl"], "redirect_uri"),
    (
        &["id", "appid", "applicationid", "consumerkey"],
        "client_id",
    ),
    (
        &["secret", "appsecret", "clientpassword", "consumersecret"],
        "client_secret",
    ),
    (&["secretfile", "clientsecretpath"], "client_secret_file"),
    (&["secretenv", "clientsecretvar"], "client_secret_env"),
    (
        &[
            "authmethod",
            "authstyle",
            "clientauth",
            "clientauthmethod",
            "clientauthenticationmethod",
        ],
        "token_endpoint_auth_method",
    ),
    (&["grant", "flow", "type"], "grant_type"),
    (&["type"], "kind"),
    (&["user", "login", "email"], "username"),
    (&["pass"], "password"),
    (&["aud"], "audience"),
    (&["provider"], "preset"),
    (&["kid", "keyid"], "private_key_id"),
    (&["alg", "algorithm"], "signing_algorithm"),
    (
        &[
            "params",
            "extraparams",
            "endpointparams",
            "additionalparams",
        ],
        "parameters",
    ),
    (
        &[
            "url",
            "uri",
            "target",
            "backend",
            "destination",
            "to",
            "proxypass",
            "upstreamurl",
        ],
        "upstream",
    ),
    (
        &["prefix", "pathprefix", "location", "match", "from"],
        "path",
    ),
    (&["stripprefix"], "strip_path"),
    (&["auth", "token"], "credential"),
    (&["preservehost", "passhostheader"], "keep_host"),
    (
        &[
            "bind",
            "port",
            "addr",
            "address",
            "listenaddr",
            "listenaddress",
        ],
        "listen",
    ),
    (&["threads"], "workers"),
    (&["ca", "cacert", "cacertfile", "cabundle"], "ca_file"),
    (&["ca", "cacert", "cacertfile", "cabundle"], "tls.ca_file"),
    (&["sni"], "server_name"),
    (&["verbosity", "loglevel"], "level"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn said(path: &str) -> String {
        let path: Vec<_> = path.split(' ').map(ToOwned::to_owned).collect();
        let table = path.split_last().unwrap().1;
        let Some(Kind::Table(keys)) = kind_at(table) else {
            panic!("{path:?}");
        };
        let known: Vec<_> = keys.iter().map(|key| key.name).collect();
        correction(&path, &known)
    }

    #[test]
    fn names_of_others_are_understood() {
        for (path, meant) in [
            ("credentials a token_url", "token_endpoint"),
            ("credentials a token_uri", "token_endpoint"),
            ("credentials a token_endpoint_url", "token_endpoint"),
            ("credentials a auth_url", "authorization_endpoint"),
            ("credentials a issuer_url", "issuer"),
            ("credentials a scopes", "scope"),
            ("credentials a secret", "client_secret"),
            ("credentials a clientId", "client_id"),
            ("credentials a client-id", "client_id"),
            ("credentials a clientSecretFile", "client_secret_file"),
            ("credentials a ca_file", "tls.ca_file"),
            ("credentials a jwks_uri", "verify.jwks_uri"),
            ("credentials a tls cacert", "ca_file"),
            ("stores a type", "kind"),
            ("routes 0 url", "upstream"),
            ("routes 0 ca_file", "tls.ca_file"),
            ("routes 0 ca-bundle", "tls.ca_file"),
            ("routes 0 server_name", "tls.server_name"),
            ("routes 0 connect", "timeouts.connect"),
            ("routes 0 upsteam", "upstream"),
            ("routes 0 timeout", "timeouts"),
            ("proxy port", "listen"),
            ("proxy header_read", "timeouts.header_read"),
            ("log loglevel", "level"),
        ] {
            let expected = format!("another key; did you mean {meant}?");
            assert_eq!(said(path), expected, "{path}");
        }
    }

    #[test]
    fn what_is_not_offered_is_called_so() {
        for path in [
            "routes 0 tls verify",
            "routes 0 verify",
            "routes 0 tls insecure_skip_verify",
            "credentials a tls verify",
            "credentials a insecureSkipVerify",
            "stores a tls skip_verify",
        ] {
            assert_eq!(said(path), VERIFIED, "{path}");
        }
        for path in ["routes 0 egress_proxy", "routes 0 https_proxy"] {
            assert_eq!(said(path), DIRECT, "{path}");
        }
        assert_eq!(said("log proxy"), said("log xyz"));
    }

    #[test]
    fn keys_of_other_tables_are_sent_there() {
        for (path, place) in [
            ("routes 0 client_id", "[credentials.NAME]"),
            ("credentials a upstream", "[[routes]]"),
            ("log grace", "[shutdown]"),
        ] {
            let said = said(path);
            assert!(
                said.ends_with(&format!(" stands in {place}")),
                "{path}: {said}"
            );
        }
    }

    /// A word that is known already would never be looked for here.
    #[test]
    fn synonyms_lead_to_keys() {
        for (words, meant) in SYNONYMS {
            let known = reachable(&raw::Config::KIND, meant);
            assert!(known, "{meant}");
            for word in words {
                assert_eq!(plain(word), *word);
                assert_ne!(plain(meant), *word);
            }
        }
    }

    fn reachable(kind: &Kind, path: &str) -> bool {
        let (first, rest) = path.split_once('.').unwrap_or((path, ""));
        match kind {
            Kind::Table(keys) => keys.iter().any(|key| {
                let here = key.name == first && (rest.is_empty() || reachable(&key.kind, rest));
                here || reachable(&key.kind, path)
            }),
            Kind::Named(inner) | Kind::List(inner) => reachable(inner, path),
            _ => false,
        }
    }
}
