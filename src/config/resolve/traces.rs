//! Where traces go, and of which requests.

use std::env;

use url::Url;

use super::super::decode::{Path, Report};
use super::super::raw;
use super::super::scalar::{Percentage, value_or};
use super::{TrustedRoots, route, trust};
use crate::oauth::transport::{bare, is_loopback};
use crate::traces::Settings;

/// `Some(None)` if there are to be none.
pub(super) fn resolve(
    raw: raw::Traces,
    roots: &mut TrustedRoots,
    report: &mut Report,
) -> Option<Option<Settings>> {
    let path = Path::new(["traces"]);
    let endpoint = endpoint(raw.endpoint, &path.key("endpoint"), report);
    let scheme = endpoint.as_ref().map_or("http", Url::scheme);
    trust::refuse_server_name(&raw.tls, "a collector's", &path, report);
    let tls = roots.config(scheme, &raw.tls, &path, report);
    let headers = route::header_values(raw.headers, None, &path.key("headers"), report);
    let (endpoint, headers) = (endpoint?, headers?);
    let enabled = value_or(raw.enabled, false);
    if enabled && !headers.is_empty() && endpoint.scheme() == "http" && !is_loopback(&endpoint) {
        report.warn(format!(
            "the fields of traces.headers go to {} in the clear: let it begin with https://",
            bare(&endpoint)
        ));
    }
    let Percentage(share) = raw.sample.unwrap_or(Percentage(1.0));
    let service = raw.service_name.or_else(|| variable("OTEL_SERVICE_NAME"));
    let settings = Settings {
        endpoint,
        tls: tls?,
        headers: headers.into_iter().collect(),
        share,
        service: service.unwrap_or_else(|| "gatepass".into()),
    };
    Some(enabled.then_some(settings))
}

/// The collector's address for traces. What is written and what the environment says is that of the
/// collector as a whole, as OpenTelemetry's specification of the exporter has it.
fn endpoint(written: Option<String>, path: &Path, report: &mut Report) -> Option<Url> {
    let written = written.or_else(|| variable("OTEL_EXPORTER_OTLP_ENDPOINT"));
    let written = written.unwrap_or_else(|| COLLECTOR.into());
    let url = Url::parse(&written).ok().filter(|url| {
        let is_http = matches!(url.scheme(), "http" | "https") && url.host().is_some();
        let is_plain = url.query().is_none() && url.fragment().is_none();
        is_http && is_plain && url.username().is_empty() && url.password().is_none()
    });
    let Some(mut url) = url else {
        // Not shown: a key may stand in it.
        let expected = "the address of a collector that speaks OTLP over HTTP, such as \
                        \"http://127.0.0.1:4318\"; a key goes into traces.headers";
        report.add(path, "something that is no such address", expected);
        return None;
    };
    let base = url.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("{base}/v1/traces"));
    Some(url)
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

const COLLECTOR: &str = "http://127.0.0.1:4318";
