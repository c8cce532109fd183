//! The JSON Schema (draft 2020-12), by which editors complete and check `gatepass.toml`.

use serde_json::{Map, Value, json};

use super::super::resolve::words;
use super::super::scalar::{Scalar, Span};
use super::{Key, Kind};

pub(super) fn schema(root: &Kind) -> String {
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gatepass.toml",
        "description": "The configuration of gatepass. Some mistakes only `gatepass check` can tell.",
    });
    if let (Some(all), Value::Object(of_root)) = (schema.as_object_mut(), of(root, "")) {
        all.extend(of_root);
        let over = json!({
            "type": "object",
            "description": PROFILES,
            "additionalProperties": { "$ref": "#" },
        });
        if let Some(properties) = all.get_mut("properties").and_then(Value::as_object_mut) {
            properties.insert("profile".into(), over);
        }
    }
    format!("{schema:#}\n")
}

/// What may stand at a path.
fn of(kind: &Kind, path: &str) -> Value {
    match kind {
        Kind::Text => match words(path).as_slice() {
            [] => json!({ "type": "string" }),
            words => json!({ "type": "string", "enum": words }),
        },
        Kind::TextLike(Span::EXPECTED) => json!({ "type": "string", "pattern": SPAN }),
        Kind::Secret | Kind::TextLike(_) => json!({ "type": "string" }),
        Kind::Number(least, u64::MAX) => json!({ "type": "integer", "minimum": least }),
        Kind::Number(least, most) => {
            json!({ "type": "integer", "minimum": least, "maximum": most })
        }
        Kind::NumberOr(_) => json!({ "type": ["integer", "string"], "minimum": 0 }),
        Kind::NumberOrWord(least, word) => json!({ "anyOf": [
            { "type": "integer", "minimum": least },
            { "type": "string", "enum": [word] },
        ] }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::OneOrMany => {
            json!({ "type": ["string", "array"], "items": { "type": "string" } })
        }
        Kind::SecretSource => {
            let table = |key: &str| {
                json!({
                    "type": "object",
                    "properties": { key: { "type": "string" } },
                    "required": [key],
                    "additionalProperties": false,
                })
            };
            json!({ "anyOf": [{ "type": "string" }, table("file"), table("env")] })
        }
        Kind::Table(keys) => {
            let properties: Map<_, _> = keys
                .iter()
                .map(|key| (key.name.to_owned(), with_words(key, path)))
                .collect();
            json!({
                "type": "object",
                "properties": properties,
                "additionalProperties": false,
            })
        }
        Kind::Named(inner) => json!({
            "type": "object",
            "additionalProperties": of(inner, &format!("{path}.NAME")),
        }),
        Kind::List(inner) => json!({
            "type": "array",
            "items": whole(of(inner, &format!("{path}[]")), inner),
        }),
    }
}

/// What stands in a list stands there as a whole: a variable or a profile adds no key to it. Of other
/// tables each may have a part of the keys.
fn whole(mut schema: Value, kind: &Kind) -> Value {
    if let (Kind::Table(keys), Some(schema)) = (kind, schema.as_object_mut()) {
        let required = keys.iter().filter(|key| key.default == "required");
        let required: Vec<_> = required.map(|key| key.name).collect();
        schema.insert("required".into(), json!(required));
    }
    schema
}

/// A key with what is said of it.
fn with_words(key: &Key, path: &str) -> Value {
    let path = match path {
        "" => key.name.to_owned(),
        _ => format!("{path}.{}", key.name),
    };
    let mut schema = of(&key.kind, &path);
    if let Some(schema) = schema.as_object_mut()
        && !key.meaning.is_empty()
    {
        let form = match key.kind {
            Kind::TextLike(form) | Kind::NumberOr(form) => format!(" Written as {form}."),
            _ => String::new(),
        };
        let description = format!("{}.{form} Default: {}.", key.meaning, key.default);
        schema.insert("description".into(), description.into());
    }
    schema
}

/// One number with a unit or more; which units there are `gatepass check` tells.
const SPAN: &str = "^( *[0-9][0-9.]* *[a-zA-Zµ]+)+ *$";

const PROFILES: &str = "Tables with the keys of the file itself, by the names of profiles. That of the \
                        profile that --profile or GATEPASS_PROFILE chooses goes over the rest.";
