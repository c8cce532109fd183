//! What the README, the pages and the examples say is true.

use std::collections::BTreeSet;
use std::fs;

use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256};
use serde_json::{Value, json};

use crate::support::CANARY;
use crate::support::gatepass::{project, run};

fn read(path: &str) -> String {
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

/// What an editor would say of the examples by the schema.
#[test]
fn the_examples_are_good_by_the_schema() {
    let schema: Value = serde_json::from_str(&read("docs/gatepass.schema.json")).unwrap();
    let mut files = vec![project().join("config.example.toml")];
    let examples = fs::read_dir(project().join("deploy/examples")).unwrap();
    files.extend(examples.map(|entry| entry.unwrap().path()));
    for file in files {
        let written: Value = toml::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let wrong = misfits(&written, &schema, "");
        assert_eq!(wrong, Vec::<String>::new(), "{}", file.display());
    }
    for (slip, wrong) in [
        ("admin.lisen = \"x\"", ".admin.lisen"),
        ("proxy.workers = 0", ".proxy.workers"),
        ("proxy.workers = \"2\"", ".proxy.workers"),
        ("log.level = \"loud\"", ".log.level"),
        ("shutdown.grace = \"30\"", ".shutdown.grace"),
        ("shutdown.grace = \"soon\"", ".shutdown.grace"),
        (
            "routes = [{ path = \"/\", credential = \"a\" }]",
            ".routes.upstream",
        ),
        ("[credentials.a]\nscope = 7", ".credentials.a.scope"),
    ] {
        let written: Value = toml::from_str(slip).unwrap();
        assert_eq!(misfits(&written, &schema, ""), [wrong]);
    }
    let route = "path = \"/\"\nupstream = \"https://api.example\"\ncredential = \"a\"";
    for (slip, wrong) in [
        ("retries = 11", ".routes.retries"),
        ("headers = { a = { path = \"b\" } }", ".routes.headers.a"),
    ] {
        let written: Value = toml::from_str(&format!("[[routes]]\n{route}\n{slip}")).unwrap();
        assert_eq!(misfits(&written, &schema, ""), [wrong]);
    }
}

/// The form of a length of time, as the schema has it.
const SPAN: &str = "^( *[0-9][0-9.]* *[a-zA-Zµ]+)+ *$";

/// What that pattern says.
fn is_span(text: &str) -> bool {
    let is_of_number = |c: char| c.is_ascii_digit() || c == '.';
    let mut rest = text.trim();
    while !rest.is_empty() {
        let unit = rest.trim_start_matches(is_of_number).trim_start();
        let next = unit.trim_start_matches(char::is_alphabetic).trim_start();
        if unit.len() == rest.len() || next.len() == unit.len() {
            return false;
        }
        rest = next;
    }
    !text.trim().is_empty()
}

/// The keys that a table has to have and does not.
fn missing<'a>(
    table: &'a serde_json::Map<String, Value>,
    schema: &'a Value,
    path: &'a str,
) -> impl Iterator<Item = String> + 'a {
    let required = schema["required"].as_array().into_iter().flatten();
    let names = required.filter_map(Value::as_str);
    let missing = names.filter(|name| !table.contains_key(*name));
    missing.map(move |name| format!("{path}.{name}"))
}

/// Where a value does not fit, by those words of JSON Schema that the schema uses.
fn misfits(value: &Value, schema: &Value, path: &str) -> Vec<String> {
    let here = || vec![path.to_owned()];
    if let Some(ways) = schema["anyOf"].as_array() {
        let fits = ways.iter().any(|way| misfits(value, way, path).is_empty());
        return if fits { Vec::new() } else { here() };
    }
    let kind = match value {
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        _ => "integer",
    };
    let kinds = &schema["type"];
    let is_of_kind = match kinds.as_array() {
        Some(kinds) => kinds.iter().any(|known| known == kind),
        None => kinds == kind,
    };
    let in_range = |number: i64| {
        let bound = |name: &str| schema[name].as_i64();
        bound("minimum").is_none_or(|least| number >= least)
            && bound("maximum").is_none_or(|most| number <= most)
    };
    let in_words = |text: &Value| {
        let words = schema["enum"].as_array();
        words.is_none_or(|words| words.contains(text))
    };
    let in_form = |text: &str| match schema["pattern"].as_str() {
        Some(pattern) => pattern == SPAN && is_span(text),
        None => true,
    };
    if !value.as_str().is_none_or(in_form) {
        return here();
    }
    if !is_of_kind || !in_words(value) || value.as_i64().is_some_and(|number| !in_range(number)) {
        return here();
    }
    match value {
        Value::Object(table) => missing(table, schema, path)
            .chain(table.iter().flat_map(|(key, inner)| {
                let path = format!("{path}.{key}");
                let known = schema["properties"].get(key);
                match known.or(schema["additionalProperties"]
                    .as_object()
                    .map(|_| &schema["additionalProperties"]))
                {
                    Some(schema) => misfits(inner, schema, &path),
                    None => vec![path],
                }
            }))
            .collect(),
        Value::Array(list) => {
            let items = list
                .iter()
                .flat_map(|item| misfits(item, &schema["items"], path));
            items.collect()
        }
        _ => Vec::new(),
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
