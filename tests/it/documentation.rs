//! What the README and the examples say is true.

use std::collections::BTreeSet;
use std::fs;

use crate::support::gatepass::{project, run};
use crate::support::{AuthorizationServer, CANARY, Gatepass, Upstream, get, simple_config};

fn read(path: &str) -> String {
    fs::read_to_string(project().join(path)).unwrap()
}

/// The fenced blocks of a language in the README.
fn blocks(language: &str) -> Vec<String> {
    let readme = read("README.md");
    let fence = format!("```{language}\n");
    let after = readme.split(&fence).skip(1);
    after
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

/// The first cells of a table whose header begins with this cell, without their backticks.
fn first_cells(header: &str) -> BTreeSet<String> {
    let readme = read("README.md");
    let table = readme.split(&format!("\n| {header} |")).nth(1).unwrap();
    table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            line.split('|')
                .nth(1)
                .unwrap()
                .trim()
                .trim_matches('`')
                .to_owned()
        })
        .collect()
}

/// Runs `check` with a secret file in place of the one that the example names.
fn check(config: &str) {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    fs::write(&secret, CANARY).unwrap();
    let key = "client_secret_file = ";
    let lines = config.lines().map(|line| match line.starts_with(key) {
        true => format!("{key}\"{}\"\n", secret.display()),
        false => format!("{line}\n"),
    });
    let config: String = lines.collect();
    let finished = run(&["check"], &[("gatepass.toml", &config)]);
    assert_eq!(finished.code, Some(0), "{}\n{config}", finished.stderr);
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
    let blocks = blocks("toml");
    let [config] = blocks.as_slice() else {
        panic!("one configuration in the README, not {}", blocks.len());
    };
    assert_eq!(config.lines().count(), 10);
    check(config);
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
            !["# domain", "# tenant", "# realm"]
                .iter()
                .any(|key| line.starts_with(key))
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
                name => name.into(),
            };
        } else if let Some((key, value)) = line.split_once(" = ")
            && key
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.'))
        {
            let inner = if key == "tls" { ".ca_file" } else { "" };
            assert!(!value.is_empty());
            keys.insert(format!("{table}.{key}{inner}"));
        }
    }
    assert!(keys.len() > 25, "{keys:?}");
    assert_eq!(first_cells("key"), keys);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_table_lists_what_is_served() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&simple_config(&provider, &upstream))
        .ready()
        .await;
    let metrics = get(gatepass.admin(), "/metrics").await.into_body();
    let served: BTreeSet<String> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .map(|name| {
            if name.starts_with("process_") {
                "process_*"
            } else {
                name
            }
        })
        .map(ToOwned::to_owned)
        .collect();
    assert_eq!(first_cells("metric"), served);
}

/// The other commands are run by `.ci/run`, which this holds to it.
#[test]
fn every_command_of_the_readme_is_run() {
    let ci = read(".ci/run");
    for line in blocks("sh").join("").lines() {
        // Those against Envase itself and on an installed gatepass are what the tests around this
        // one do with servers of their own.
        if line.starts_with("gatepass ") || line.contains("/connect/") || line.contains("/NAME/") {
            continue;
        }
        assert!(
            ci.lines()
                .any(|run| run.split([';', '|', '>', '&']).next().unwrap().trim() == line),
            "{line:?} is in the README and not in .ci/run"
        );
    }
}
