//! Traces: requests belong to them, are told of to a collector, and never wait for it.

use http::HeaderValue;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::client::{get_request, request};
use crate::support::collector::{Collector, SeenSpan};
use crate::support::upstream::Refusal;
use crate::support::{AuthorizationServer, CANARY, Gatepass, Nobody, Upstream, get, simple_config};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A GET that belongs to a trace.
async fn get_traced(gatepass: &Gatepass, path: &str, parent: &'static str) {
    let mut traced = get_request(path);
    let fields = traced.headers_mut();
    fields.insert("traceparent", HeaderValue::from_static(parent));
    fields.insert("tracestate", HeaderValue::from_static("vendor=1"));
    assert_eq!(request(gatepass.proxy(), traced).await.status(), 200);
}

async fn stopped(mut gatepass: Gatepass) {
    gatepass.signal(Signal::TERM);
    assert!(gatepass.ended().await.success());
}

/// What a span says, without what is another each time.
fn said(span: &SeenSpan, upstream: &Upstream) -> Value {
    let attributes = serde_json::to_string(&span.attributes).unwrap();
    let port = upstream.authority().replace("127.0.0.1:", "");
    let attributes: Value = serde_json::from_str(&attributes.replace(&port, "1")).unwrap();
    json!([span.name, span.status, attributes])
}

fn config(collector: &Collector, provider: &AuthorizationServer, upstream: &Upstream) -> String {
    format!(
        "[traces]\nenabled = true\nendpoint = \"{}/\"\nheaders = {{ x-key = \"canary\" }}\n{}\n\
         [log.access]\nrequests = \"all\"\n",
        collector.endpoint(),
        simple_config(provider, upstream)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_through_and_has_spans_of_its_own() {
    let (provider, upstream) = (AuthorizationServer::start(), Upstream::start().await);
    let collector = Collector::start().await;
    let config = config(&collector, &provider, &upstream);
    let gatepass = Gatepass::start(&config).ready().await;
    get_traced(&gatepass, "/orders/7?key=canary", SAMPLED).await;
    let sent = upstream.last();
    assert_eq!(sent.all("tracestate"), ["vendor=1"]);
    let line = gatepass.wait_for_event("a request is over");
    assert_eq!(line["trace_id"], TRACE);
    stopped(gatepass).await;

    let server = collector.of_kind(2).pop().unwrap();
    let client = collector.of_kind(3).pop().unwrap();
    assert_eq!([&server.trace_id, &client.trace_id], [TRACE; 2]);
    assert_eq!(server.parent, "00f067aa0ba902b7");
    assert_eq!(client.parent, server.span_id);
    assert_eq!(
        sent.all("traceparent"),
        [format!("00-{TRACE}-{}-01", client.span_id)]
    );
    assert_eq!([server.state, client.state.clone()], ["vendor=1"; 2]);
    assert!(server.started <= client.started && client.started < client.ended);
    assert!(
        client.ended <= server.ended,
        "{collector:?}",
        collector = collector.spans()
    );
    let server = collector.of_kind(2).pop().unwrap();
    assert_eq!(
        said(&server, &upstream),
        json!(["GET /", 0, {
            "gatepass.route": "root",
            "http.request.method": "GET",
            "http.response.status_code": 200,
            "http.route": "/",
            "url.path": "/orders/7",
            "url.scheme": "http",
        }])
    );
    assert_eq!(
        said(&client, &upstream),
        json!(["GET", 0, {
            "gatepass.credential": "envase",
            "gatepass.token.age": 0,
            "gatepass.token.generation": 1,
            "http.request.method": "GET",
            "http.response.status_code": 200,
            "server.address": "127.0.0.1",
            "server.port": 1,
            "url.full": "http://127.0.0.1:1/orders/7",
        }])
    );
    let fetch = collector.of_kind(1).pop().unwrap();
    assert_eq!(
        said(&fetch, &upstream),
        json!(["fetch token", 0, { "gatepass.credential": "envase", "gatepass.outcome": "success" }])
    );
    assert_ne!(fetch.trace_id, TRACE);
    assert_eq!(fetch.service, "gatepass");
    let all = format!("{:?}", collector.spans());
    assert!(!all.contains(CANARY), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_and_what_is_sent_again_are_told() {
    let (provider, upstream) = (AuthorizationServer::start(), Upstream::start().await);
    let collector = Collector::start().await;
    let nobody = Nobody::new();
    let down = format!(
        "[[routes]]\npath = \"/down\"\nupstream = \"{}\"\n",
        nobody.origin()
    );
    let config = config(&collector, &provider, &upstream) + &down + "credential = \"none\"\n";
    let gatepass = Gatepass::start(&config).ready().await;
    upstream.refuse(Refusal::OfEverything);
    get(gatepass.proxy(), "/refused").await;
    let spans: Vec<_> = upstream
        .seen()
        .iter()
        .map(|seen| seen.all("traceparent")[0].to_owned())
        .collect();
    get(gatepass.proxy(), "/down").await;
    stopped(gatepass).await;

    // Each time that it was sent is a span, and the upstream can tell them apart.
    let sent = collector.of_kind(3);
    let of_sent = |span: &SeenSpan| format!("00-{}-{}-01", span.trace_id, span.span_id);
    assert_eq!(sent.iter().map(of_sent).collect::<Vec<_>>(), spans);
    let again = &sent[1].attributes;
    assert_eq!(again["http.request.resend_count"], 1);
    assert_eq!(again["gatepass.token.generation"], 2);
    assert_eq!(
        [&again["error.type"], &sent[0].attributes["error.type"]],
        ["401"; 2]
    );
    let [refused, down] = <[SeenSpan; 2]>::try_from(collector.of_kind(2)).unwrap();
    assert_eq!((refused.status, refused.parent.as_str()), (0, ""));
    assert_eq!(down.status, 2);
    assert_eq!(down.attributes["error.type"], "upstream_unreachable");
    assert_eq!(down.attributes["http.response.status_code"], 502);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_decides_is_followed() {
    let (provider, upstream) = (AuthorizationServer::start(), Upstream::start().await);
    let collector = Collector::start().await;
    let config = config(&collector, &provider, &upstream);
    let keys = "enabled = true\nsample = \"0%\"\nservice_name = \"orders\"";
    let config = config.replace("enabled = true", keys);
    let environment = [("OTEL_SERVICE_NAME", "others")];
    let gatepass = Gatepass::start_with(&config, &environment).ready().await;
    // One that has no decision gets one, and those behind gatepass are told.
    get(gatepass.proxy(), "/").await;
    let told = upstream.last().all("traceparent")[0].to_owned();
    assert!(told.ends_with("-00"), "{told}");
    let unsampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    get_traced(&gatepass, "/", unsampled).await;
    assert_eq!(upstream.last().all("traceparent"), [unsampled]);
    get_traced(&gatepass, "/", SAMPLED).await;
    stopped(gatepass).await;
    let spans = collector.of_kind(2);
    assert_eq!(spans.len(), 1);
    assert_eq!(spans[0].service, "orders");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_traces_the_fields_pass_as_they_came() {
    let (provider, upstream) = (AuthorizationServer::start(), Upstream::start().await);
    let config = simple_config(&provider, &upstream);
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")];
    let gatepass = Gatepass::start_with(&config, &environment).ready().await;
    get(gatepass.proxy(), "/").await;
    assert_eq!(upstream.last().all("traceparent"), [""; 0]);
    get_traced(&gatepass, "/", SAMPLED).await;
    assert_eq!(upstream.last().all("traceparent"), [SAMPLED]);
}

/// By the variable that OpenTelemetry has for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_down_costs_spans_and_no_request() {
    let (provider, upstream) = (AuthorizationServer::start(), Upstream::start().await);
    let nobody = Nobody::new();
    let endpoint = nobody.origin();
    let config = format!(
        "traces.enabled = true\n{}",
        simple_config(&provider, &upstream)
    );
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())];
    let gatepass = Gatepass::start_with(&config, &environment).ready().await;
    // Enough for them to be sent at once.
    for _ in 0..1_100 {
        assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    }
    gatepass.output_with("the collector takes no spans, and until it does they are dropped");
    let lost = "gatepass_trace_spans_dropped_total{reason=\"not_taken\"}";
    assert!(gatepass.metric(lost).await > 0.0);
    assert_eq!(
        gatepass.metric("gatepass_trace_spans_sent_total").await,
        0.0
    );
}
