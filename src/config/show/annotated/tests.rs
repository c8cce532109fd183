use std::collections::BTreeSet;

use super::super::super::{Layers, load};
use super::*;
use crate::store::{KeyFile, Seal};

const CONFIG: &str = r#"
    [stores.fleet]
    kind = "redis"
    url = "redis://cache.example"
    password = "canary-1"
    unencrypted = true

    [credentials.a]
    preset = "envase"
    environment = "staging"
    client_id = "x"
    client_secret_env = "HOME"
    egress_proxy = "http://me:canary-2@proxy.example:3128"
    parameters = { note = "canary-3", key = { env = "HOME" } }

    [[routes]]
    path = "/a"
    upstream = "https://api.example"
    credential = "a"
    headers = { "x-api-key" = "canary-4" }
    timeouts = { idle = "1m" }
"#;

#[test]
fn each_value_has_its_origin_and_no_secret_is_told() {
    let layers = Layers {
        text: Some(CONFIG.into()),
        environment: vec![("GATEPASS__PROXY__WORKERS".into(), "2".into())],
        ..Layers::default()
    };
    let text = load(&layers).unwrap().annotated;
    assert!(!text.contains("canary"), "{text}");
    let workers = "workers = \"2\"                                 # GATEPASS__PROXY__WORKERS\n";
    assert!(text.contains(workers), "{text}");
    assert!(text.contains("limits.requests = 10000                       # default\n"));
    // The others have a key more every now and then.
    let (_, rest) = text.split_once("\n[stores.fleet]").unwrap();
    let (written, defaults) = rest.split_once("\n# each of").unwrap();
    assert!(defaults.contains("retries = 1  "), "{defaults}");
    insta::assert_snapshot!(written);
}

/// What is told of a key that is not written is what holds then: to write it changes nothing.
#[test]
fn defaults_that_are_told_are_those_that_apply() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let file = directory.path().join(name);
        std::fs::write(&file, content).unwrap();
        file.display().to_string()
    };
    let key_file = file("key", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=");
    let authority = rcgen::generate_simple_self_signed(Vec::new()).unwrap();
    let ca_file = file("ca.pem", &authority.cert.pem());
    let told = told();
    let mut proved = BTreeSet::new();
    for part in [SPARSE, DETAILED] {
        let config = format!("{part}{REST}").replace("KEY_FILE", &key_file);
        let config = config.replace("CA_FILE", &ca_file);
        let without = meant(&config).unwrap();
        for (table, line) in &told {
            // Not every credential may have every key, and no key stands twice.
            for with in each_with(&config, table, line) {
                let mut lines = with.lines().zip(without.lines());
                let other = lines.find(|(with, without)| with != without);
                assert_eq!(other, None, "{table}: {line}");
                proved.insert((table, line));
            }
        }
    }
    let unproved = told
        .iter()
        .filter(|(table, line)| !proved.contains(&(table, line)));
    let unproved: Vec<_> = unproved.map(|(_, line)| line.as_str()).collect();
    // Another key, which is no value that could be written.
    assert_eq!(unproved, ["timeouts.drain_upgrades = shutdown.grace"]);
}

/// Every default that is a value, as the table and the line that says it.
fn told() -> Vec<(&'static str, String)> {
    let mut told = Vec::new();
    for table in raw::Config::KEYS {
        let (Kind::Table(keys) | Kind::Named(Kind::Table(keys)) | Kind::List(Kind::Table(keys))) =
            &table.kind
        else {
            panic!("{}: a table", table.name);
        };
        told.extend(lines("", keys).into_iter().map(|line| (table.name, line)));
    }
    told
}

fn lines(prefix: &str, keys: &[Key]) -> Vec<String> {
    let mut all = Vec::new();
    for key in keys {
        let name = format!("{prefix}{}", key.name);
        match key.kind {
            Kind::Table(inner) => all.extend(lines(&format!("{name}."), inner)),
            _ => all.extend(default_of(key).map(|default| format!("{name} = {default}"))),
        }
    }
    all
}

/// What it means with a line more, for each of the tables of that name that may have it.
fn each_with(config: &str, table: &str, line: &str) -> Vec<String> {
    let heads = config.lines().map(str::trim).filter(|text| {
        let name = text.trim_matches(['[', ']']).split('.').next();
        text.starts_with('[') && name == Some(table)
    });
    heads
        .filter_map(|head| meant(&config.replace(head, &format!("{head}\n{line}"))))
        .collect()
}

/// The settings but for what tells texts apart that mean the same; nothing if there is a mistake.
fn meant(text: &str) -> Option<String> {
    let layers = Layers {
        text: Some(text.into()),
        ..Layers::default()
    };
    let mut settings = load(&layers).ok()?;
    settings.revision = <_>::default();
    settings.fixed.clear();
    settings.annotated.clear();
    // Where it is written for no socket.
    settings
        .warnings
        .retain(|warning| !warning.contains("proxy.unix.mode"));
    for credential in settings.credentials.iter_mut().chain(&mut settings.unused) {
        credential.revision = <_>::default();
    }
    for route in &mut settings.routes {
        route.upstream_revision = <_>::default();
    }
    for store in settings.stores.values_mut() {
        // It says when it was read.
        if let Seal::Keys(keys) = &mut store.seal {
            *keys = KeyFile::new("key".into());
        }
    }
    Some(format!("{settings:#?}"))
}

/// Nothing that has a default.
const SPARSE: &str = r#"
    [proxy]
    [log]
    [traces]
"#;

/// What there is only beside something else.
const DETAILED: &str = r#"
    [proxy]
    listen = "unix:gatepass.sock"
    callers.key = "x"
    [log]
    access.requests = "all"
    [traces]
    enabled = true
"#;

const REST: &str = r#"
    [admin]
    [secrets]
    [shutdown]

    [stores.fleet]
    kind = "redis"
    url = "redis://127.0.0.1"
    key_file = "KEY_FILE"

    [credentials.plain]
    token_endpoint = "http://127.0.0.1/token"
    client_id = "x"
    client_secret_file = "/proc/version"

    [credentials.okta]
    preset = "okta"
    domain = "id.example"
    scope = "a"
    client_id = "x"
    client_secret = "x"
    tls.ca_file = "CA_FILE"

    [credentials.code]
    grant_type = "authorization_code"
    authorization_endpoint = "http://127.0.0.1/authorize"
    token_endpoint = "http://127.0.0.1/token"
    client_id = "x"
    store = "fleet"

    [credentials.implicit]
    grant_type = "implicit"
    authorization_endpoint = "http://127.0.0.1/authorize"
    client_id = "x"
    store = "fleet"

    [[routes]]
    path = "/"
    upstream = "http://127.0.0.1:1"
    credential = "plain"
"#;
