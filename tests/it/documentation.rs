//! What the README, the pages and the examples say is true.

use std::collections::BTreeSet;
use std::fs;

use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256};
use serde_json::json;

use crate::support::CANARY;
use crate::support::gatepass::{project, run};

pub fn read(path: &str) -> String {
    fs::read_to_string(project().join(path)).unwrap()
}

/// As `openssl rand -base64 32` prints one.
const STORE_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";

/// The fenced blocks of a language in a page.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let page = read(page);
    let fence = format!("```{language}\n");
    let after = page.split(&fence).skip(1);
    after
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

/// Runs `check` with files that are there in place of those that the example names.
fn check(config: &str) {
    check_with(config, &[]);
}

fn check_with(config: &str, flags: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let pair = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    let certificate = CertificateParams::new(Vec::new()).unwrap();
    let certificate = certificate.self_signed(&pair).unwrap().pem();
    let account = json!({ "client_email": "a@b", "private_key": pair.serialize_pem() });
    let secret = file("secret", CANARY);
    let stand_ins = [
        ("private_key_file", file("key.pem", &pair.serialize_pem())),
        ("client_key_file", file("tls.key", &pair.serialize_pem())),
        ("client_cert_file", file("tls.crt", &certificate)),
        (
            "service_account_file",
            file("account.json", &account.to_string()),
        ),
        ("key_file", file("store.key", STORE_KEY)),
        ("directory", directory.path().display().to_string()),
        (
            "session_file",
            directory.path().join("session").display().to_string(),
        ),
    ];
    let stand_in = |key: &str| {
        let known = stand_ins.iter().find(|(known, _)| *known == key);
        known.map_or(secret.as_str(), |(_, path)| path)
    };
    let checked = with_files(config, stand_in);
    let finished = run(
        &[&["check"], flags].concat(),
        &[("gatepass.toml", &checked)],
    );
    assert_eq!(finished.code, Some(0), "{}\n{checked}", finished.stderr);
}

/// Every string that is the value of a key `…_file` becomes what the function says of the key.
fn with_files<'a>(config: &str, stand_in: impl Fn(&str) -> &'a str) -> String {
    let mut parts: Vec<_> = config.split('"').collect();
    for index in (1..parts.len()).step_by(2) {
        let before = parts[index - 1].lines().last().unwrap_or_default();
        let key = before.strip_suffix(" = ").unwrap_or_default();
        let key = key.rsplit([' ', '{']).next().unwrap();
        if (key.ends_with("_file") || key == "directory")
            && !before.starts_with('#')
            && key != "ca_file"
        {
            parts[index] = stand_in(key);
        }
    }
    parts.join("\"")
}

#[test]
fn every_example_is_a_good_configuration() {
    check(&read("config.example.toml"));
    let mut examples = 0;
    for entry in fs::read_dir(project().join("deploy/examples")).unwrap() {
        check(&fs::read_to_string(entry.unwrap().path()).unwrap());
        examples += 1;
    }
    assert!(examples > 0);
}

#[test]
fn the_ten_lines_of_the_readme_are_ten_and_good() {
    let only = |page: &str, header: &str| {
        let blocks = blocks(page, "toml").into_iter();
        let blocks: Vec<_> = blocks.filter(|block| block.starts_with(header)).collect();
        <[String; 1]>::try_from(blocks).map(|[block]| block)
    };
    let config = only("README.md", "").unwrap();
    let profile = only("docs/configuration.md", "[profile").unwrap();
    let fleet = only("docs/fleet.md", "").unwrap();
    assert_eq!(config.lines().count(), 10);
    check(&config);
    check_with(
        &format!("{config}\n{profile}"),
        &["--profile", "production"],
    );
    // The same credential in a fleet.
    let (stores, credential) = fleet.split_once("[credentials.envase]\n").unwrap();
    let first = "[credentials.envase]\n";
    check(&config.replace(first, &format!("{stores}{first}{credential}")));
}

/// What `config.example.toml` shows commented out is what gatepass takes for granted, and can be
/// written.
#[test]
fn the_example_with_everything_uncommented_is_good() {
    let everything: String = read("config.example.toml")
        .lines()
        // Alternatives to a key that is set already, and files that are not there.
        .filter(|line| !line.starts_with("# client_secret"))
        .filter(|line| {
            let needs_another = [
                "domain",
                "tenant",
                "realm",
                "authorization_server",
                "issuer",
                "unencrypted",
                "service",
                "sentinel_",
            ];
            let alternatives = [
                "password",
                "api_key",
                "refresh_token",
                "actor_token_type",
                "key_env",
                "previous_client_secret",
            ];
            let left_out = needs_another.iter().chain(&alternatives);
            let mut left_out = left_out.map(|key| format!("# {key}"));
            !left_out.any(|key| line.starts_with(&key))
        })
        .filter(|line| !(line.starts_with('#') && line.contains("file = \"")))
        // Values that only the user can know.
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.contains(" = ") => rest,
            _ => line,
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    assert!(everything.contains("\nworkers = 1 "), "{everything}");
    check(&everything);
}

#[test]
fn the_reference_lists_the_keys_of_the_example() {
    let mut table = String::new();
    let mut keys = BTreeSet::new();
    for line in read("config.example.toml").lines() {
        let line = line.trim_start_matches("# ");
        if let Some(header) = line.strip_prefix('[') {
            let name = header.trim_start_matches('[').split(']').next().unwrap();
            table = match name {
                "routes" => "routes[]".into(),
                name if name.starts_with("credentials.") => "credentials.NAME".into(),
                name if name.starts_with("stores.") => "stores.NAME".into(),
                name => name.into(),
            };
        } else if let Some((key, value)) = line.split_once(" = ")
            && key
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.'))
        {
            assert!(!value.is_empty());
            if ["tls", "verify"].contains(&key) {
                let inner = value.split(['{', '}']).nth(1).unwrap().trim();
                let inner = inner
                    .split(", ")
                    .map(|pair| pair.split(" = ").next().unwrap());
                keys.extend(inner.map(|inner| format!("{table}.{key}.{inner}")));
            } else {
                keys.insert(format!("{table}.{key}"));
            }
        }
    }
    assert!(keys.len() > 25, "{keys:?}");
    // Providers and servers of a store are called by the names of their addresses.
    keys.insert("credentials.NAME.tls.server_name".into());
    keys.insert("stores.NAME.tls.server_name".into());
    keys.insert("traces.tls.server_name".into());
    let listed: BTreeSet<_> = read("docs/configuration.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(ToOwned::to_owned)
        .collect();
    assert_eq!(listed, keys);
}

#[test]
fn the_reference_and_the_schema_are_those_of_the_types() {
    for (arguments, file) in [
        (&["schema"][..], "docs/gatepass.schema.json"),
        (&["schema", "--page"], "docs/configuration.md"),
    ] {
        let printed = run(arguments, &[]).stdout;
        if std::env::var_os("UPDATE_REFERENCE").is_some() {
            fs::write(project().join(file), &printed).unwrap();
        }
        assert_eq!(
            read(file),
            printed,
            "run this test with UPDATE_REFERENCE=1 to write {file} anew"
        );
    }
}

/// The other commands are run by `.ci/run`, or by `tests/deploy/test_documentation.py` as those of the
/// guide, which this holds to it.
#[test]
fn every_command_of_the_readme_is_run() {
    let ci = read(".ci/run");
    let guide = blocks("docs/getting-started.md", "sh").join("");
    for line in blocks("README.md", "sh")
        .join("")
        .replace("\\\n", "")
        .lines()
    {
        // Those against Envase itself and on an installed gatepass are what the tests around this
        // one do with servers of their own.
        if line.starts_with("gatepass ") || line.contains("/connect/") {
            continue;
        }
        let of_ci = |run: &str| run.split([';', '|', '>', '&']).next().unwrap().trim() == line;
        assert!(
            ci.lines().any(of_ci) || guide.lines().any(|run| run == line),
            "{line:?} is in the README, and neither in .ci/run nor in the guide"
        );
    }
}

#[test]
fn every_alert_has_its_runbook() {
    let (rules, runbooks) = (
        read("deploy/prometheus/gatepass.rules.yml"),
        read("docs/runbooks.md"),
    );
    let alerts: Vec<_> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    let written: Vec<_> = runbooks
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .filter(|heading| heading.starts_with("Gatepass"))
        .collect();
    assert_eq!(alerts, written);
    for alert in alerts {
        let link = format!("runbook: docs/runbooks.md#{}", alert.to_lowercase());
        assert!(rules.contains(&link), "{link}");
    }
}
