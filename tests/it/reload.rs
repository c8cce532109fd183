//! A changed configuration is taken up while requests go on, and a mistake changes nothing.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::wire::{GET, Wire};
use crate::support::{AuthorizationServer, Gatepass, Load, Reply, Upstream, get, simple_config};

pub const TAKEN_UP: &str = r#"gatepass_config_reloads_total{outcome="success"}"#;
pub const REFUSED: &str = r#"gatepass_config_reloads_total{outcome="failure"}"#;
const SUCCESSFUL: &str = "gatepass_config_last_reload_successful";

/// A route to another upstream, with no credential.
pub fn route(path: &str, upstream: &Upstream) -> String {
    format!(
        "\n[[routes]]\npath = \"{path}\"\nupstream = \"{}\"\ncredential = \"none\"\n",
        upstream.origin()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_taken_up_and_no_request_is_lost() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let other = Upstream::start().await;
    upstream.check_tokens(provider.introspection());
    let config = simple_config(&provider, &upstream);
    let gatepass = Gatepass::start(&config).ready().await;
    let load = Load::start(gatepass.proxy(), 4);
    assert_eq!(get(gatepass.proxy(), "/other").await.status(), 200);
    assert_eq!(other.requests(), 0);

    // Nobody says so: the file alone has changed.
    gatepass.write_config(&(config.clone() + &route("/other", &other)));
    gatepass.wait_for_metric(TAKEN_UP, 1.0).await;
    assert_eq!(get(gatepass.proxy(), "/other").await.status(), 200);
    assert_eq!(other.requests(), 1);

    gatepass.reload(&config).await;
    assert_eq!(get(gatepass.proxy(), "/other").await.status(), 200);
    assert_eq!(other.requests(), 1);

    // What has not changed goes on as it was.
    assert_eq!(provider.count(), 1, "the credential keeps its token");
    assert_eq!(load.stop().await, []);
    // Four callers, and those of this test.
    assert!(upstream.connections() <= 5, "{}", upstream.connections());
    assert_eq!(upstream.bad_tokens(), Vec::<String>::new());
    gatepass.wait_for_event("SIGHUP: the configuration is read again");
    gatepass.wait_for_event("the changed configuration is at work");
}

/// Two of one upstream share neither their connections nor the limit of them, before a reload and after it.
#[tokio::test(flavor = "multi_thread")]
async fn routes_to_one_upstream_have_their_own_connections_after_it() {
    let wire = Wire::start("max_connections = 1").await;
    let config = std::fs::read_to_string(wire.gatepass.config_file()).unwrap();
    let (_, root) = config.split_once("[[routes]]").unwrap();
    let other = root.replace("path = \"/\"", "path = \"/other\"");
    let both = format!("{config}\n[[routes]]{other}");
    wire.gatepass.reload(&both).await;
    wire.gatepass.reload(&format!("{both}\nretries = 0")).await;
    let (_caller, _upstream) = wire.exchange(GET).await;
    wire.exchange(&GET.replace("/ ", "/other ")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_changes_nothing_and_is_told_until_it_is_mended() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream);
    let gatepass = Gatepass::start(&config).ready().await;
    let wrong = config.replace("credential = \"envase\"", "credential = \"envas\"");
    gatepass.write_config(&wrong);
    gatepass.wait_for_metric(REFUSED, 1.0).await;
    assert_eq!(gatepass.metric(SUCCESSFUL).await, 0.0);
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    let ready = get(gatepass.admin(), "/readyz").await;
    assert_eq!(ready.status(), 200);
    let told = "gatepass.toml:10: routes[0].credential: found \"envas\", which no [credentials.envas] \
                defines, expected one of envase, none; did you mean envase?";
    assert!(ready.body().contains(told), "{}", ready.body());
    let status = get(gatepass.admin(), "/api/status").await;
    assert!(
        status.body().contains("did you mean envase?"),
        "{}",
        status.body()
    );
    let logged = "the changed configuration is not taken up, and what runs stays: ";
    assert!(
        gatepass
            .output_with(logged)
            .contains(&told.replace('"', "\\\""))
    );

    // A syntax error is one as well.
    gatepass.write_config("[[");
    gatepass.wait_for_metric(REFUSED, 2.0).await;
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);

    gatepass.write_config(&config);
    gatepass.wait_for_metric(SUCCESSFUL, 1.0).await;
    gatepass.wait_for_event("the configuration is good again, and is what runs");
    assert_eq!(get(gatepass.admin(), "/readyz").await.body(), "ready\n");
    assert_eq!(
        gatepass.metric(TAKEN_UP).await,
        0.0,
        "what runs is what was there before"
    );
    assert_eq!(provider.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_credential_takes_over_with_its_first_token() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    upstream.check_tokens(provider.introspection());
    let config = simple_config(&provider, &upstream);
    let gatepass = Gatepass::start(&config).ready().await;
    let load = Load::start(gatepass.proxy(), 2);

    // The provider does not know the new client yet.
    let refusal = r#"{"error":"invalid_client"}"#;
    provider.otherwise(Reply::Json(401, refusal.into()));
    let other = config.replace("client_id = \"tms\"", "client_id = \"another\"");
    gatepass.write_config(&other);
    let output = gatepass.output_with("the changed configuration waits for its first token");
    let told = "no first token for the changed configuration";
    assert!(output.contains(told), "{output}");
    assert!(
        !output.contains("no token to send"),
        "there is one: {output}"
    );
    let ready = get(gatepass.admin(), "/readyz").await;
    assert_eq!(ready.status(), 200);
    let told = "the configuration was changed and waits for the first token: credential \"envase\" \
                has no token yet: token endpoint";
    assert!(ready.body().contains(told), "{}", ready.body());
    assert_eq!(gatepass.metric(TAKEN_UP).await, 0.0);
    // What runs is not what is written, and may never be.
    assert_eq!(gatepass.metric(SUCCESSFUL).await, 0.0);

    // A second thought is taken up although the first waits.
    provider.otherwise(Reply::Token(3600.0));
    gatepass
        .reload(&config.replace("client_id = \"tms\"", "client_id = \"third\""))
        .await;
    assert_eq!(gatepass.metric(SUCCESSFUL).await, 1.0);
    assert_eq!(get(gatepass.admin(), "/readyz").await.body(), "ready\n");
    assert_eq!(load.stop().await, []);
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    let sent = upstream.last().all("authorization")[0].to_owned();
    assert!(sent.ends_with("token-2"), "{sent}");
    assert_eq!(upstream.bad_tokens(), Vec::<String>::new());

    // The keeper that was replaced asks for nothing any more.
    let asked = provider.count();
    gatepass.order_refresh("envase").await;
    provider.wait_for_requests(asked + 1).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(provider.count(), asked + 1);
}

/// A provider that asks for patience is not asked again by a SIGHUP that changes nothing, nor is a token lost
/// that has come meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_token_goes_on_waiting_when_it_is_read_again() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let endpoint = provider.token_endpoint();
    let config = format!(
        "[credentials.other]\ntoken_endpoint = \"{endpoint}\"\nclient_id = \"other\"\n\
         client_secret = \"canary\"\n{}\n[[routes]]\npath = \"/other\"\nupstream = \"{}\"\n\
         credential = \"other\"\n",
        simple_config(&provider, &upstream),
        upstream.origin()
    );
    let gatepass = Gatepass::start(&config).ready().await;

    provider.plan([Reply::Token(3600.0)]);
    let patience =
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 600\r\nContent-Length: 0\r\n\r\n";
    provider.otherwise(Reply::Bytes(patience.into()));
    let changed = config.replace("client_secret =", "scope = \"changed\"\nclient_secret =");
    gatepass.write_config(&changed);
    gatepass.output_with("the changed configuration waits for its first token");
    let asked = provider.count();
    assert_eq!(asked, 4, "each credential twice");

    gatepass.signal(Signal::HUP);
    gatepass.wait_for_event("what is written goes on waiting for its first token");
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    assert_eq!(provider.count(), asked);
    assert_eq!(gatepass.metric(TAKEN_UP).await, 0.0);

    // Another change is taken up.
    provider.otherwise(Reply::Token(3600.0));
    gatepass.reload(&changed.replace("changed", "again")).await;
    assert_eq!(get(gatepass.admin(), "/readyz").await.body(), "ready\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_is_gone() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream);
    let gatepass = Gatepass::start(&config).ready().await;
    gatepass.reload(&route("/", &upstream)).await;
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    assert!(upstream.last().all("authorization").is_empty());
    let metrics = get(gatepass.admin(), "/metrics").await.into_body();
    assert!(!metrics.contains("gatepass_token_usable{"), "{metrics}");
    // And it comes again.
    gatepass.reload(&config).await;
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    assert_eq!(
        upstream.last().all("authorization"),
        ["Bearer canary-token-2"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_a_restart_is_named() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream);
    let gatepass = Gatepass::start(&config).ready().await;
    let keys = "proxy.workers = 2\nproxy.names = [\"gatepass.local\"]\nadmin.quit = true\n\
                shutdown.grace = \"1s\"\n";
    gatepass.reload(&format!("{keys}{config}")).await;
    let ready = get(gatepass.admin(), "/readyz").await;
    assert_eq!(
        ready.body(),
        "ready\n\nthe configuration was changed, and takes a restart to take effect in: \
         admin.quit, proxy.workers\n"
    );
    // What was meant is what is there again.
    gatepass.reload(&config).await;
    assert_eq!(get(gatepass.admin(), "/readyz").await.body(), "ready\n");
}

/// Without it each replica would ask by itself, and nobody would know.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_not_there_at_the_start_is_refused() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream);
    let gatepass = Gatepass::start(&config).ready().await;
    let directory = tempfile::tempdir().unwrap();
    let shared = config.replace("client_id", "store = \"fleet\"\nclient_id");
    gatepass.write_config(&format!(
        "[stores.fleet]\nkind = \"file\"\nunencrypted = true\ndirectory = \"{}\"\n{shared}",
        directory.path().display()
    ));
    gatepass.wait_for_metric(REFUSED, 1.0).await;
    let ready = get(gatepass.admin(), "/readyz").await.into_body();
    let told = "it needs \"fleet\", which was not there at the start; restart gatepass to have it";
    assert!(ready.contains(told), "{ready}");
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_without_a_change_changes_nothing() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&simple_config(&provider, &upstream))
        .ready()
        .await;
    gatepass.signal(Signal::HUP);
    gatepass.wait_for_event("what runs stays as it is");
    assert_eq!(gatepass.metric(TAKEN_UP).await, 0.0);
    assert_eq!(provider.count(), 1);
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_that_are_gone_are_not_counted_any_more() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream);
    let of = |route: &str| format!("route=\"{route}\"");
    let gatepass = Gatepass::start(&(config.clone() + &route("/first", &upstream)))
        .ready()
        .await;
    assert_eq!(get(gatepass.proxy(), "/first").await.status(), 200);
    let metrics = get(gatepass.admin(), "/metrics").await.into_body();
    assert!(metrics.contains(&of("first")), "{metrics}");
    gatepass
        .reload(&(config.clone() + &route("/second", &upstream)))
        .await;
    let metrics = get(gatepass.admin(), "/metrics").await.into_body();
    assert!(!metrics.contains(&of("first")), "{metrics}");
    for there in ["second", "root", "(none)"] {
        assert!(metrics.contains(&of(there)), "{there}: {metrics}");
    }
    // What goes on has lost nothing, and what comes again begins anew.
    gatepass
        .reload(&(config + &route("/first", &upstream)))
        .await;
    assert_eq!(get(gatepass.proxy(), "/first").await.status(), 200);
    let counted = |route: &str| {
        let labels = of(route);
        format!("gatepass_requests_total{{{labels},status_class=\"2xx\"}}")
    };
    assert_eq!(gatepass.metric(&counted("first")).await, 1.0);
}
