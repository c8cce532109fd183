//! The schema that editors go by admits the examples, and finds mistakes.

use std::fs;

use serde_json::Value;

use crate::documentation::read;
use crate::support::gatepass::project;

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
