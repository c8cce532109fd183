//! Where callers and operators are served, and by which names.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Uri};
use rustls::ServerConfig;
use secrecy::{ExposeSecret, SecretString};

use super::super::decode::{Path, Report};
use super::super::scalar::OneOrMany;
use super::super::{Guard, Listen, raw};
use super::{secret, trust};
use crate::proxy::{CallerKey, Callers};
use crate::server::{Address, UnixAccess};
use crate::tls::{self, TlsError};

/// The data plane's listeners, of which `guard` says which may be reached by other machines.
pub(super) fn proxy_listeners(
    written: Option<OneOrMany>,
    tls: raw::ListenerTls,
    guard: Guard,
    proxy: &Path,
    report: &mut Report,
) -> Option<Vec<Listen>> {
    let path = proxy.key("listen");
    let written = written.map_or_else(|| vec![DEFAULT_PROXY.to_owned()], |listen| listen.0);
    if written.is_empty() {
        report.add(&path, "an empty list", "at least one address");
    }
    let wants_tls = written.iter().any(|text| text.starts_with(TLS));
    let config = match report.flag(&path) {
        // Whoever says by a flag where to listen this time need not change the rest of the file.
        Some(_) if !wants_tls => Some(None),
        _ => listener_tls(tls, wants_tls, &proxy.key("tls"), report),
    };
    let listen: Vec<_> = written
        .iter()
        .filter_map(|text| {
            let (plain, secure) = match text.strip_prefix(TLS) {
                Some(rest) => (rest, true),
                None => (text.as_str(), false),
            };
            let address = address(plain, &path, report)?;
            if secure && matches!(address, Address::Unix(_)) {
                report.add(
                    &path,
                    format!("{text:?}"),
                    "tls: before an IP address and a port",
                );
                return None;
            }
            if guard.leaves_open(&address, secure) {
                report.add(
                    &path,
                    format!("{text}, which other machines can reach"),
                    WIDE,
                );
            }
            let tls = match secure {
                true => Some(config.clone()??),
                false => None,
            };
            Some(Listen { address, tls })
        })
        .collect();
    (listen.len() == written.len()).then_some(listen)
}

/// `Some(None)` if no listener wants it.
fn listener_tls(
    raw: raw::ListenerTls,
    wanted: bool,
    path: &Path,
    report: &mut Report,
) -> Option<Option<Arc<ServerConfig>>> {
    for file in [&raw.cert_file, &raw.key_file, &raw.client_ca_file] {
        file.iter().for_each(|file| report.reads(file));
    }
    let (certificates, key) = match (raw.cert_file, raw.key_file) {
        (None, None) if !wanted && raw.client_ca_file.is_none() => return Some(None),
        (Some(certificates), Some(key)) => (certificates, key),
        (certificates, _) => {
            let missing = if certificates.is_none() {
                "cert_file"
            } else {
                "key_file"
            };
            report.add(
                &path.key(missing),
                "nothing",
                "a PEM file, for the listeners with tls:",
            );
            return None;
        }
    };
    if !wanted {
        report.add(
            path,
            "a certificate for no listener",
            "tls: before an address in proxy.listen, such as \"tls:127.0.0.1:8443\"",
        );
        return None;
    }
    let certificates = (certificates, &path.key("cert_file"));
    let identity = trust::identity(certificates, (key, &path.key("key_file")), report)?;
    if let Some(file) = &raw.client_ca_file {
        secret::refuse_unexpanded(file, &path.key("client_ca_file"), report)?;
    }
    let authorities = raw.client_ca_file.map(PathBuf::from);
    match tls::server_config(&identity, authorities.as_deref()) {
        Ok(config) => Some(Some(config)),
        Err(error) => {
            let key = match &error {
                TlsError::CaFile { .. } => "client_ca_file",
                TlsError::Certificates { .. } | TlsError::Platform(_) => "cert_file",
                TlsError::Key { .. } => "key_file",
            };
            report.add(
                &path.key(key),
                error.to_string(),
                "a PEM file that goes with the others",
            );
            None
        }
    }
}

pub(in super::super) fn admin_address(raw: raw::Admin, report: &mut Report) -> Option<Address> {
    let written = raw.listen.unwrap_or_else(|| DEFAULT_ADMIN.to_owned());
    address(&written, &Path::new(["admin", "listen"]), report)
}

fn address(text: &str, path: &Path, report: &mut Report) -> Option<Address> {
    if let Some(socket) = text.strip_prefix("unix:") {
        let socket = PathBuf::from(socket);
        if socket.file_name().is_none() {
            report.add(path, format!("{text:?}"), "unix: and the path of a socket");
            return None;
        }
        return Some(Address::Unix(socket));
    }
    if text == "systemd" {
        return Some(Address::Systemd(None));
    }
    if let Some(name) = text
        .strip_prefix("systemd:")
        .filter(|name| !name.is_empty())
    {
        return Some(Address::Systemd(Some(name.to_owned())));
    }
    let parsed = text.parse().ok().map(Address::Tcp);
    if parsed.is_none() {
        let port = text.strip_prefix("localhost:").unwrap_or(text);
        let expected = match port.parse::<u16>() {
            Ok(port) => format!("an IP address and a port; did you mean \"127.0.0.1:{port}\"?"),
            Err(_) => "an IP address and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\", \
                       or \"unix:/path\""
                .into(),
        };
        report.add(path, format!("{text:?}"), expected);
    }
    parsed
}

pub(super) fn distinct(proxy: &[Listen], admin: &Address, report: &mut Report) {
    let mut seen = vec![admin];
    for Listen { address, .. } in proxy {
        // Port 0 is another port each time.
        let is_fixed = !matches!(address, Address::Tcp(address) if address.port() == 0);
        if is_fixed && seen.contains(&address) {
            report.add(
                &Path::new(["proxy", "listen"]),
                format!("{address}, which is listened on twice"),
                "an address of its own for each listener",
            );
        }
        seen.push(address);
    }
}

/// What will be in the way of a socket, or is written for none.
pub(super) fn warn_of_sockets(
    proxy: &[Listen],
    admin: Option<&Address>,
    raw: &raw::Unix,
    has_uids: bool,
    report: &mut Report,
) {
    let addresses = proxy.iter().map(|listen| &listen.address);
    let sockets = addresses
        .clone()
        .chain(admin)
        .filter_map(|address| match address {
            Address::Unix(path) => Some(path),
            Address::Tcp(_) | Address::Systemd(_) => None,
        });
    for path in sockets {
        let directory = path.parent().filter(|above| !above.as_os_str().is_empty());
        if let Some(directory) = directory.filter(|directory| !directory.is_dir()) {
            report.warn(format!(
                "the directory {} is not there, in which the socket {} is to be made: make it before \
                 gatepass starts",
                directory.display(),
                path.display()
            ));
        }
    }
    let mut addresses = addresses;
    if addresses.any(|address| !matches!(address, Address::Tcp(_))) {
        return;
    }
    let of_files = [
        ("proxy.unix.mode", raw.mode.is_some()),
        ("proxy.unix.owner", raw.owner.is_some()),
        ("proxy.unix.group", raw.group.is_some()),
        ("proxy.callers.uids", has_uids),
    ];
    for (key, _) in of_files.into_iter().filter(|(_, is_written)| *is_written) {
        report.warn(format!(
            "{key} is about Unix sockets, and proxy.listen has none (\"unix:/path\")"
        ));
    }
}

pub(super) fn unix_access(raw: &raw::Unix) -> UnixAccess {
    let defaults = UnixAccess::default();
    UnixAccess {
        mode: raw.mode.map_or(defaults.mode, |mode| mode.0),
        owner: raw.owner.map(u32::from),
        group: raw.group.map(u32::from),
    }
}

/// Who may call.
pub(super) fn callers(raw: raw::Callers, path: &Path, report: &mut Report) -> Option<Callers> {
    let header = raw.key_header.as_deref().unwrap_or(DEFAULT_KEY_HEADER);
    let header = HeaderName::try_from(header).ok();
    let header = header.filter(|name| !super::route::OWN_HEADERS.contains(&name.as_str()));
    if header.is_none() {
        let found = "a field that gatepass sets itself, or none at all";
        report.add(&path.key("key_header"), found, "the name of a header field");
    }
    let keys = secret::Keys {
        name: "key",
        value: raw.key,
        file: raw.key_file,
        variable: raw.key_env,
    };
    let key = match keys.resolve(path, report)? {
        None if raw.key_header.is_some() => {
            report.add(
                &path.key("key_file"),
                "nothing",
                "the key that callers show in key_header",
            );
            return None;
        }
        None => None,
        // Read once: every request is held to it.
        Some(secret) => match secret::read_once(&secret, report) {
            Ok(value) if can_be_shown(&value) => Some(CallerKey::new(header?, value)),
            Ok(_) => {
                let expected = "a key without line breaks, control characters and spaces around it";
                report.add(path, "a key that no field can show (not shown)", expected);
                return None;
            }
            Err(error) => {
                report.add(path, error.to_string(), "a key that can be read");
                return None;
            }
        },
    };
    let uids = raw
        .uids
        .map(|uids| uids.into_iter().map(u32::from).collect());
    Some(Callers { key, uids })
}

/// RFC 9110 §5.5: "leading or trailing whitespace" is no part of a field's value. Every caller would be
/// refused.
fn can_be_shown(key: &SecretString) -> bool {
    let key = key.expose_secret();
    key.trim_matches([' ', '\t']) == key && HeaderValue::from_str(key).is_ok()
}

/// The names that requests may be for. Where only this machine can call, those of this machine and
/// what is written; where others can, what is written, or any.
pub(super) fn names(
    written: Vec<String>,
    listen: Option<&[Listen]>,
    path: &Path,
    report: &mut Report,
) -> Option<Option<Vec<String>>> {
    let names = hosts(written, path, report)?;
    let listen = listen?;
    let wide = listen.iter().any(|listen| !listen.address.is_local());
    if wide && names.is_empty() {
        return Some(None);
    }
    let own = ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned);
    let addresses = listen.iter().filter_map(|listen| match listen.address {
        Address::Tcp(SocketAddr::V4(address)) => Some(address.ip().to_string()),
        Address::Tcp(SocketAddr::V6(address)) => Some(format!("[{}]", address.ip())),
        Address::Unix(_) | Address::Systemd(_) => None,
    });
    let mut all: Vec<_> = own.into_iter().chain(addresses).chain(names).collect();
    all.sort();
    all.dedup();
    Some(Some(all))
}

/// Names of hosts, as a request's Host has them but for the port.
pub(super) fn hosts(written: Vec<String>, path: &Path, report: &mut Report) -> Option<Vec<String>> {
    let is_host = |text: &str| {
        let uri = format!("http://{text}/").parse::<Uri>().ok();
        let is_name = uri.is_some_and(|uri| uri.host() == Some(text) && uri.port().is_none());
        is_name && !text.contains('*')
    };
    let expected = "a host's name without a port or *, such as \"api.example\"";
    if !all_fit(&written, is_host, expected, path, report) {
        return None;
    }
    Some(
        written
            .into_iter()
            .map(|name| name.to_ascii_lowercase())
            .collect(),
    )
}

/// Origins as browsers write them: scheme, host, and the port where it is not the usual one.
pub(super) fn origins(
    written: Vec<String>,
    path: &Path,
    report: &mut Report,
) -> Option<Vec<String>> {
    let is_origin = |text: &str| {
        let url = url::Url::parse(text).ok();
        url.is_some_and(|url| {
            url.origin()
                .ascii_serialization()
                .eq_ignore_ascii_case(text)
        })
    };
    let expected = "an origin such as \"http://localhost:3000\", without a path or *";
    all_fit(&written, is_origin, expected, path, report).then_some(written)
}

/// Reports each that does not fit.
fn all_fit(
    written: &[String],
    fits: impl Fn(&str) -> bool,
    expected: &str,
    path: &Path,
    report: &mut Report,
) -> bool {
    let wrong: Vec<_> = written.iter().filter(|text| !fits(text)).collect();
    for text in &wrong {
        report.add(path, format!("{text:?}"), expected);
    }
    wrong.is_empty()
}

/// Before an address on which TLS is spoken.
const TLS: &str = "tls:";

const WIDE: &str = "a loopback address or a Unix socket, because whoever reaches this port acts with \
                    the credentials; or let callers say who they are, with a key \
                    (proxy.callers.key_file) or a certificate (tls: and proxy.tls.client_ca_file); \
                    if only trusted callers can reach it, say so with proxy.trust_network = true";

const DEFAULT_KEY_HEADER: &str = "x-gatepass-key";
const DEFAULT_PROXY: &str = "127.0.0.1:8080";
const DEFAULT_ADMIN: &str = "127.0.0.1:9090";
