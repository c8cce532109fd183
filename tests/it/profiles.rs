//! Several environments in one file.

use crate::support::gatepass::{Finished, run_with};
use crate::support::{AuthorizationServer, CLIENT_SECRET, Gatepass, Upstream, get, simple_config};

const CONFIG: &str = r#"
[credentials.envase]
preset = "envase"
environment = "staging"
client_id = "tms-staging"
client_secret = "canary"
scope = "a b"

[[routes]]
path = "/connect"
upstream = "https://staging.example"
credential = "envase"

[profile.production.credentials.envase]
environment = "production"
client_id = "tms"

[[profile.production.routes]]
path = "/connect"
upstream = "https://production.example"
credential = "envase"

[profile.local]
admin.listen = "127.0.0.1:9091"
"#;

fn check(arguments: &[&str], environment: &[(&str, &str)], config: &str) -> Finished {
    let arguments = [&["check"], arguments].concat();
    run_with(&arguments, &[("gatepass.toml", config)], environment)
}

#[test]
fn the_chosen_one_goes_over_the_rest_of_the_file() {
    let without = check(&["--show"], &[], CONFIG).stdout;
    let told = "Its profiles are not looked at; --profile NAME checks one: local, production\n";
    assert!(without.contains(told), "{without}");
    let production = check(&["--show", "--profile", "production"], &[], CONFIG);
    assert!(!production.stdout.contains(told), "{}", production.stdout);
    assert_eq!(production.code, Some(0), "{}", production.stderr);
    let production = production.stdout;
    assert!(
        production.starts_with("The configuration is good: gatepass.toml, profile production\n")
    );
    for (part, in_rest, in_production) in [
        ("envase-stg.auth", true, false),
        ("https://envase.auth", false, true),
        ("client_id = \"tms-staging\"", true, false),
        ("client_id = \"tms\"", false, true),
        ("staging.example", true, false),
        ("production.example", false, true),
        // What it does not say stays.
        ("scope = \"a b\"", true, true),
    ] {
        assert_eq!(without.contains(part), in_rest, "{part}: {without}");
        assert_eq!(
            production.contains(part),
            in_production,
            "{part}: {production}"
        );
    }
}

#[test]
fn the_environment_chooses_one_and_flags_another() {
    let chosen = [("GATEPASS_PROFILE", "local")];
    let local = check(&[], &chosen, CONFIG).stdout;
    assert!(local.contains("http://127.0.0.1:9091/readyz"), "{local}");
    let production = check(&["--profile", "production"], &chosen, CONFIG).stdout;
    assert!(production.contains("production.example"), "{production}");
    assert!(
        production.contains("http://127.0.0.1:9090/readyz"),
        "{production}"
    );
    // As in a Compose file that hands on what nobody has set.
    let none = check(&[], &[("GATEPASS_PROFILE", "")], CONFIG).stdout;
    assert!(none.contains("http://127.0.0.1:9090/readyz"), "{none}");
    // Variables go over the profile.
    let chosen = [chosen[0], ("GATEPASS__ADMIN__LISTEN", "127.0.0.1:9092")];
    let local = check(&[], &chosen, CONFIG).stdout;
    assert!(local.contains("http://127.0.0.1:9092/readyz"), "{local}");
}

#[test]
fn mistakes_name_the_line_of_the_profile() {
    let slips = [
        (
            "production",
            CONFIG.replace("environment = \"production\"", "environment = \"prod\""),
        ),
        (
            "production",
            CONFIG.replace("client_id = \"tms\"", "clientid = \"tms\""),
        ),
        (
            "local",
            CONFIG.replace("admin.listen", "credentials.new.client_id"),
        ),
        ("prodution", CONFIG.to_owned()),
        (
            "staging",
            CONFIG.split("[profile").next().unwrap().to_owned(),
        ),
        (
            "local",
            format!(
                "profile.local = 7\n{}",
                CONFIG.split("[profile").next().unwrap()
            ),
        ),
    ];
    let said: Vec<_> = slips
        .iter()
        .map(|(profile, config)| {
            let finished = check(&["--profile", profile], &[], config);
            assert_eq!(finished.code, Some(78), "{}", finished.stdout);
            assert!(!finished.stderr.contains("canary"), "{}", finished.stderr);
            finished.stderr
        })
        .collect();
    insta::assert_snapshot!("mistakes_of_profiles", said.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_is_kept_to_when_the_file_changes() {
    let provider = AuthorizationServer::start();
    let (one, other) = (Upstream::start().await, Upstream::start().await);
    let config = |upstream: &Upstream| {
        format!(
            "{}\n[[profile.here.routes]]\npath = \"/\"\nupstream = \"{}\"\ncredential = \"envase\"\n",
            simple_config(&provider, &one),
            upstream.origin()
        )
    };
    assert!(config(&one).contains(CLIENT_SECRET));
    let chosen = [("GATEPASS_PROFILE", "here")];
    let gatepass = Gatepass::start_with(&config(&other), &chosen).ready().await;
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    assert_eq!((one.requests(), other.requests()), (0, 1));
    gatepass.reload(&config(&one)).await;
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    assert_eq!((one.requests(), other.requests()), (1, 1));
}
