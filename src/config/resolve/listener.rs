//! Where callers and operators are served, and by which names.

use std::net::SocketAddr;

use http::Uri;

use super::super::decode::{Path, Report};
use super::super::raw;
use super::super::scalar::OneOrMany;

pub(super) fn proxy_addresses(
    written: Option<OneOrMany>,
    trusted: bool,
    path: &Path,
    report: &mut Report,
) -> Option<Vec<SocketAddr>> {
    let written = written.map_or_else(|| vec![DEFAULT_PROXY.to_owned()], |listen| listen.0);
    if written.is_empty() {
        report.add(path, "an empty list", "at least one address");
    }
    let addresses: Vec<_> = written
        .iter()
        .filter_map(|text| address(text, path, report))
        .collect();
    for address in &addresses {
        if !address.ip().is_loopback() && !trusted {
            report.add(
                path,
                format!("{address}, which other machines can reach"),
                "a loopback address, because whoever reaches this port acts with the credentials; \
                 if only trusted callers can reach it, say so with proxy.trust_network = true",
            );
        }
    }
    (addresses.len() == written.len()).then_some(addresses)
}

pub(super) fn admin_address(raw: raw::Admin, report: &mut Report) -> Option<SocketAddr> {
    let written = raw.listen.unwrap_or_else(|| DEFAULT_ADMIN.to_owned());
    address(&written, &Path::new(["admin", "listen"]), report)
}

fn address(text: &str, path: &Path, report: &mut Report) -> Option<SocketAddr> {
    let parsed = text.parse().ok();
    if parsed.is_none() {
        let port = text.strip_prefix("localhost:").unwrap_or(text);
        let expected = match port.parse::<u16>() {
            Ok(port) => format!("an IP address and a port; did you mean \"127.0.0.1:{port}\"?"),
            Err(_) => {
                "an IP address and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\"".into()
            }
        };
        report.add(path, format!("{text:?}"), expected);
    }
    parsed
}

pub(super) fn distinct(proxy: &[SocketAddr], admin: SocketAddr, report: &mut Report) {
    let mut seen = vec![admin];
    for address in proxy {
        // Port 0 is another port each time.
        if address.port() != 0 && seen.contains(address) {
            report.add(
                &Path::new(["proxy", "listen"]),
                format!("{address}, which is listened on twice"),
                "an address of its own for each listener",
            );
        }
        seen.push(*address);
    }
}

/// The names that requests may be for. Where only this machine can call, those of this machine and
/// what is written; where others can, what is written, or any.
pub(super) fn names(
    written: Vec<String>,
    listen: Option<&[SocketAddr]>,
    path: &Path,
    report: &mut Report,
) -> Option<Option<Vec<String>>> {
    let names = hosts(written, path, report)?;
    let listen = listen?;
    let wide = listen.iter().any(|address| !address.ip().is_loopback());
    if wide && names.is_empty() {
        return Some(None);
    }
    let own = ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned);
    let addresses = listen.iter().map(|address| match address {
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
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

const DEFAULT_PROXY: &str = "127.0.0.1:8080";
const DEFAULT_ADMIN: &str = "127.0.0.1:9090";
