//! `gatepass doctor` where nothing is wrong, and what it leaves alone.

use serde_json::Value;

use crate::support::certificates::Authority;
use crate::support::gatepass::{Finished, project, run_with};
use crate::support::{AuthorizationServer, CANARY, Gatepass, Reply, Upstream, simple_config};

const ANYWHERE: [(&str, &str); 2] = [
    ("GATEPASS__PROXY__LISTEN", "127.0.0.1:0"),
    ("GATEPASS__ADMIN__LISTEN", "127.0.0.1:0"),
];

fn doctor(config: &str, arguments: &[&str]) -> Finished {
    let arguments = [&["doctor"], arguments].concat();
    let finished = run_with(&arguments, &[("gatepass.toml", config)], &ANYWHERE);
    assert!(!finished.stdout.contains(CANARY), "{}", finished.stdout);
    finished
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_of_a_good_way_is_told() {
    let (provider, upstream) = (AuthorizationServer::start(), Upstream::start().await);
    provider.say_date(
        std::fs::metadata("/proc/self/stat")
            .unwrap()
            .modified()
            .unwrap(),
    );
    upstream.check_tokens(provider.introspection());
    let config = simple_config(&provider, &upstream);
    let finished = doctor(&config, &["--call"]);
    assert_eq!(
        finished.code,
        Some(0),
        "{}{}",
        finished.stdout,
        finished.stderr
    );
    let told = finished
        .stdout
        .replace(&provider.address().to_string(), "PROVIDER")
        .replace(&upstream.authority(), "UPSTREAM");
    insta::assert_snapshot!(told);
    assert_eq!(provider.count(), 1, "one token request");
    assert_eq!(upstream.requests(), 1);
    assert_eq!(upstream.bad_tokens(), Vec::<String>::new());
    assert_eq!(upstream.last().method, "HEAD");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_to_an_upstream_unasked() {
    let (provider, upstream) = (AuthorizationServer::start(), Upstream::start().await);
    let finished = doctor(&simple_config(&provider, &upstream), &["--json"]);
    assert_eq!(finished.code, Some(0), "{}", finished.stdout);
    let report: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(report["healthy"], true);
    assert_eq!(upstream.requests(), 0);
}

/// People and programs are told the same; what programs read has the form that its page promises.
#[tokio::test(flavor = "multi_thread")]
async fn what_programs_read_is_as_documented() {
    let (provider, upstream) = (AuthorizationServer::start(), Upstream::start().await);
    provider.otherwise(Reply::Json(401, r#"{"error":"invalid_client"}"#.into()));
    let config = simple_config(&provider, &upstream);
    let told = |arguments: &[&str]| {
        let finished = doctor(&config, arguments);
        assert_eq!(finished.code, Some(69), "{}", finished.stdout);
        finished
            .stdout
            .replace(&provider.address().to_string(), "PROVIDER")
            .replace(&upstream.authority(), "UPSTREAM")
    };
    insta::assert_snapshot!("as_text", told(&[]));
    let told = told(&["--json"]);
    insta::assert_snapshot!("as_json", told);
    let page = std::fs::read_to_string(project().join("docs/doctor.md")).unwrap();
    let (_, example) = page.split_once("```json\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    assert_eq!(example, told, "docs/doctor.md");
}

/// It belongs to the gatepass that runs, and a provider that rotates takes it once.
#[tokio::test(flavor = "multi_thread")]
async fn an_only_refresh_token_is_not_used_up() {
    let (provider, upstream) = (AuthorizationServer::start(), Upstream::start().await);
    let config = simple_config(&provider, &upstream).replace(
        "client_id",
        "grant_type = \"refresh_token\"\nrefresh_token = \"canary-first\"\nclient_id",
    );
    let finished = doctor(&config, &[]);
    assert_eq!(finished.code, Some(0), "{}", finished.stdout);
    assert!(
        finished.stdout.contains("use up the refresh token"),
        "{}",
        finished.stdout
    );
    assert_eq!(provider.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gatepass_that_runs_is_no_stranger() {
    let (provider, upstream) = (AuthorizationServer::start(), Upstream::start().await);
    let config = simple_config(&provider, &upstream);
    let gatepass = Gatepass::start(&config).ready().await;
    let (proxy, admin) = (gatepass.proxy().to_string(), gatepass.admin().to_string());
    let finished = doctor(&config, &["--listen", &proxy, "--admin-listen", &admin]);
    assert_eq!(finished.code, Some(0), "{}", finished.stdout);
    let belongs = "belongs to a gatepass that runs";
    assert_eq!(finished.stdout.matches(belongs).count(), 2);

    // One that would run there is told as well.
    let arguments = ["run", "--listen", &proxy, "--admin-listen", &admin];
    let refused = run_with(&arguments, &[("gatepass.toml", &config)], &[]);
    assert_eq!(refused.code, Some(69));
    let said = refused
        .stderr
        .replace(&proxy, "PROXY")
        .replace(&admin, "ADMIN");
    insta::assert_snapshot!("run_beside_another", said);

    // What another program holds is not its, although it runs.
    let foreign = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let held = foreign.local_addr().unwrap().to_string();
    let finished = doctor(&config, &["--listen", &held, "--admin-listen", &admin]);
    assert_eq!(finished.code, Some(69), "{}", finished.stdout);
    assert_eq!(finished.stdout.matches(belongs).count(), 1);
    assert!(
        finished.stdout.contains("BROKEN    proxy"),
        "{}",
        finished.stdout
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chain_is_shown_with_its_dates() {
    let (provider, upstream) = (AuthorizationServer::start(), Upstream::start().await);
    let authority = Authority::new();
    let address = crate::typical_mistakes::tls_server(&authority.server()).await;
    let config = simple_config(&provider, &upstream).replace(
        &format!("\"{}\"", upstream.origin()),
        &format!(
            "\"https://localhost:{}\"\ntls = {{ ca_file = \"ca.pem\" }}",
            address.port()
        ),
    );
    let files = [
        ("gatepass.toml", config.as_str()),
        ("ca.pem", &authority.pem()),
    ];
    let finished = run_with(&["doctor"], &files, &ANYWHERE);
    assert_eq!(finished.code, Some(0), "{}", finished.stdout);
    let shown =
        "\"localhost\" by \"gatepass tests\", from 1975-01-01T00:00:00Z to 4096-01-01T00:00:00Z";
    assert!(finished.stdout.contains(shown), "{}", finished.stdout);
}

#[test]
fn a_wrong_configuration_is_told_as_check_tells_it() {
    let finished = doctor("nonsense = 1", &["--json"]);
    assert_eq!(finished.code, Some(78));
    assert!(finished.stderr.contains("nonsense"), "{}", finished.stderr);
    // Programs have it in the form in which they get everything.
    insta::assert_snapshot!("wrong_configuration", finished.stdout);
    let report: Value = serde_json::from_str(&finished.stdout).unwrap();
    let said = report["examinations"][0]["steps"][0]["said"].as_str();
    let told = finished.stderr.strip_prefix("gatepass: ").unwrap();
    assert_eq!(said, Some(told.trim_end()));
    let missing = doctor("", &["--json", "--config", "nowhere.toml"]);
    assert_eq!(missing.code, Some(78));
    let report: Value = serde_json::from_str(&missing.stdout).unwrap();
    assert_eq!(report["healthy"], false);
    assert_eq!(doctor("nonsense = 1", &[]).stdout, "");
}
