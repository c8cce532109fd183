//! `upstream` of a route: where its requests go, and by what it is known there.

use rustls::pki_types::ServerName;
use url::Url;

use super::super::super::decode::{Path, Report};
use super::super::super::raw;
use super::super::{TrustedRoots, required};
use crate::proxy::Origin;

/// Where requests go.
pub(super) fn origin(
    written: Option<String>,
    tls: &raw::Tls,
    route: &Path,
    roots: &mut TrustedRoots,
    report: &mut Report,
) -> Option<Origin> {
    let path = route.key("upstream");
    let written = required(written, &path, UPSTREAM, report);
    let server_name = server_name(tls.server_name.as_deref(), route, report);
    if let Some(socket) = written
        .as_deref()
        .and_then(|text| text.strip_prefix("unix:"))
    {
        if !socket.starts_with('/') {
            report.add(
                &path,
                format!("\"unix:{socket}\""),
                "unix: and an absolute path",
            );
            return None;
        }
        return Some(Origin::unix(socket.into()));
    }
    // An address of HTTP that is spoken in another way from the first byte on.
    let http2 = written
        .as_deref()
        .and_then(|text| text.strip_prefix("h2c://"));
    let over_http2 = http2.is_some();
    let written = match http2 {
        Some(rest) => Some(format!("http://{rest}")),
        None => written,
    };
    let url = written.and_then(|written| upstream_url(&written, &path, report));
    let scheme = url.as_ref().map_or("", Url::scheme);
    let tls = roots.config(scheme, tls, route, report);
    let url = url?;
    match Origin::new(&url, &*tls?, server_name?) {
        Ok(origin) if over_http2 => Some(origin.over_http2()),
        Ok(origin) => Some(origin),
        Err(error) => {
            let port = url.port().map(|port| format!(":{port}"));
            let scheme = if over_http2 { "h2c" } else { url.scheme() };
            let shown = format!(
                "{scheme}://{}{}{}, without what is not shown of it",
                url.host_str().unwrap_or_default(),
                port.unwrap_or_default(),
                url.path()
            );
            report.add(&path, shown, error.to_string());
            None
        }
    }
}

/// `Some(None)` if it is the upstream's own.
fn server_name(
    written: Option<&str>,
    route: &Path,
    report: &mut Report,
) -> Option<Option<ServerName<'static>>> {
    let Some(text) = written else {
        return Some(None);
    };
    let name = ServerName::try_from(text.to_owned()).ok();
    if name.is_none() {
        report.add(
            &route.key("tls").key("server_name"),
            format!("{text:?}"),
            "the name that the upstream's certificate has, such as \"api.example\"",
        );
    }
    name.map(Some)
}

fn upstream_url(written: &str, path: &Path, report: &mut Report) -> Option<Url> {
    let has_scheme = written.starts_with("http://") || written.starts_with("https://");
    let url = Url::parse(written).ok();
    match url {
        Some(url) if has_scheme || url.has_host() => return Some(url),
        // Shown only where nothing secret can stand in it.
        _ if !has_scheme && !written.contains(['@', '?']) => report.add(
            path,
            format!("{written:?}, which does not begin with http://, https://, h2c:// or unix:"),
            UPSTREAM,
        ),
        _ => report.add(path, "something that is no address", UPSTREAM),
    }
    None
}

const UPSTREAM: &str = "where to send matched requests, such as \"https://api.example\"";
