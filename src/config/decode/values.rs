//! From a value as it is written to the type that it is read into, and what is said of one that does not
//! fit.

use std::collections::BTreeMap;

use figment::value::{Dict, Value};
use secrecy::SecretString;

use super::super::misspelling::correction;
use super::super::reference::Key;
use super::super::scalar::{OneOrMany, Scalar, SecretSource};
use super::{Path, Report};

/// What can be read from a value.
pub(in crate::config) trait Decode: Sized {
    /// `None` if the value does not fit, which has been noted. What is in it may be noted as well, and is
    /// left out.
    fn decode(value: &Value, path: &Path, report: &mut Report) -> Option<Self>;
}

/// A table as it is written.
pub(in crate::config) struct Table<'a> {
    keys: &'a Dict,
    path: &'a Path,
    report: &'a mut Report,
}

impl<'a> Table<'a> {
    /// Notes the keys that are not among those that are known.
    pub(in crate::config) fn open(
        value: &'a Value,
        known: &[Key],
        path: &'a Path,
        report: &'a mut Report,
    ) -> Option<Self> {
        let Value::Dict(_, keys) = value else {
            return misfit(value, "a table", path, report);
        };
        let known: Vec<_> = known.iter().map(|key| key.name).collect();
        for key in keys.keys().filter(|key| !known.contains(&key.as_str())) {
            let path = path.key(key);
            let expected = correction(&path.0, &known);
            report.add(&path, "a key that gatepass does not know", expected);
        }
        Some(Self { keys, path, report })
    }

    /// What a key is; the default if it is not written, or does not fit.
    pub(in crate::config) fn read<T: Decode + Default>(&mut self, key: &str) -> T {
        let value = self.keys.get(key);
        let decoded = value.and_then(|value| T::decode(value, &self.path.key(key), self.report));
        decoded.unwrap_or_default()
    }
}

impl<T: Scalar> Decode for T {
    fn decode(value: &Value, path: &Path, report: &mut Report) -> Option<Self> {
        let decoded = match value {
            Value::String(_, text) => T::from_text(text),
            Value::Num(_, number) => {
                let number = number.to_u128_lossy().map(u64::try_from);
                number.and_then(Result::ok).and_then(T::from_number)
            }
            Value::Bool(_, value) => T::from_bool(*value),
            _ => None,
        };
        if decoded.is_none() {
            report.add(path, shown(value), T::EXPECTED);
        }
        decoded
    }
}

impl Decode for String {
    fn decode(value: &Value, path: &Path, report: &mut Report) -> Option<Self> {
        match value {
            Value::String(_, text) => Some(text.clone()),
            other => misfit(other, "a string in quotes", path, report),
        }
    }
}

impl Decode for SecretString {
    fn decode(value: &Value, path: &Path, report: &mut Report) -> Option<Self> {
        String::decode(value, path, report).map(Self::from)
    }
}

impl Decode for OneOrMany {
    fn decode(value: &Value, path: &Path, report: &mut Report) -> Option<Self> {
        match value {
            Value::String(_, text) => Some(Self(vec![text.clone()])),
            Value::Array(..) => Vec::decode(value, path, report).map(Self),
            other => misfit(other, "a string or a list of strings", path, report),
        }
    }
}

impl Decode for SecretSource {
    fn decode(value: &Value, path: &Path, report: &mut Report) -> Option<Self> {
        let keys: Vec<_> = match value {
            Value::String(_, text) => return Some(Self::Value(text.as_str().into())),
            Value::Dict(_, keys) => keys.iter().collect(),
            _ => Vec::new(),
        };
        let kept = match keys.as_slice() {
            [(key, _)] if *key == "file" => Self::File,
            [(key, _)] if *key == "env" => Self::Variable,
            _ => return misfit(value, SECRET_SOURCE, path, report),
        };
        let (key, place) = keys.first()?;
        String::decode(place, &path.key(key), report).map(kept)
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(value: &Value, path: &Path, report: &mut Report) -> Option<Self> {
        T::decode(value, path, report).map(Some)
    }
}

/// All of it or nothing, so that the places of its other entries do not change.
impl<T: Decode> Decode for Vec<T> {
    fn decode(value: &Value, path: &Path, report: &mut Report) -> Option<Self> {
        let Value::Array(_, list) = value else {
            return misfit(value, "a list", path, report);
        };
        let list = list.iter().enumerate();
        list.map(|(index, value)| T::decode(value, &path.key(index), report))
            .collect()
    }
}

impl<T: Decode> Decode for BTreeMap<String, T> {
    fn decode(value: &Value, path: &Path, report: &mut Report) -> Option<Self> {
        let Value::Dict(_, table) = value else {
            return misfit(value, "a table", path, report);
        };
        let mut decoded = Self::new();
        for (name, value) in table {
            if let Some(value) = T::decode(value, &path.key(name), report) {
                decoded.insert(name.clone(), value);
            }
        }
        Some(decoded)
    }
}

/// Notes a value of another kind than is expected; it is not shown.
fn misfit<T>(value: &Value, expected: &str, path: &Path, report: &mut Report) -> Option<T> {
    let expected = usual_slip(path).unwrap_or(expected);
    report.add(path, kind_of(value), expected);
    None
}

/// A value that is refused for what it says, which is never a secret.
fn shown(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("{text:?}"),
        Value::Num(_, number) => match (number.to_i128(), number.to_u128()) {
            (Some(number), _) => number.to_string(),
            (None, Some(number)) => number.to_string(),
            (None, None) => kind_of(value).into(),
        },
        other => kind_of(other).into(),
    }
}

/// What is better said of tables that are commonly written the wrong way.
fn usual_slip(path: &Path) -> Option<&'static str> {
    let keys: Vec<_> = path.0.iter().map(String::as_str).collect();
    match keys.as_slice() {
        ["routes"] => Some(
            "a list: each route stands below [[routes]], with double brackets, and in the file alone",
        ),
        ["credentials"] | ["credentials", _] => Some(
            "a table: each credential stands below [credentials.NAME], such as [credentials.envase]",
        ),
        _ => None,
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Bool(..) => "true or false",
        Value::Num(_, number) if number.to_f64().is_some() => "a number with a fraction",
        Value::Num(..) => "a number",
        Value::String(..) | Value::Char(..) => "a string",
        Value::Array(..) => "a list",
        Value::Dict(..) => "a table",
        Value::Empty(..) => "something else",
    }
}

const SECRET_SOURCE: &str = "a string in quotes, { file = \"…\" } or { env = \"…\" }";
