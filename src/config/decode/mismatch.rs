//! What is said of a value that does not fit.

use figment::error::{Actual, Kind};

use super::super::misspelling::correction;
use super::Path;

/// What is better said of tables that are commonly written the wrong way.
pub(super) fn usual_slip(path: &Path) -> Option<String> {
    let keys: Vec<_> = path.0.iter().map(String::as_str).collect();
    match keys.as_slice() {
        ["routes"] => Some(
            "a list: each route stands below [[routes]], with double brackets, and in the file alone"
                .into(),
        ),
        ["credentials"] | ["credentials", _] => Some(
            "a table: each credential stands below [credentials.NAME], such as [credentials.envase]"
                .into(),
        ),
        _ => None,
    }
}

/// Says what serde found and wanted. What was found is shown only where [`super::super::scalar`] refused
/// it for what it says, which it never does of a secret; elsewhere only its type is.
pub(super) fn describe(kind: &Kind, path: &Path) -> (String, String) {
    match kind {
        Kind::UnknownField(_, known) => (
            "a key that gatepass does not know".into(),
            correction(&path.0, known),
        ),
        Kind::InvalidValue(actual, expected) => (shown(actual), expected.clone()),
        Kind::InvalidType(actual, expected) => (type_of(actual).into(), in_words(expected)),
        _ => (
            "a value that does not fit here".into(),
            "another one; see docs/configuration.md".into(),
        ),
    }
}

fn shown(actual: &Actual) -> String {
    match actual {
        Actual::Str(text) => format!("{text:?}"),
        Actual::Unsigned(number) => number.to_string(),
        Actual::Signed(number) => number.to_string(),
        other => type_of(other).into(),
    }
}

fn type_of(actual: &Actual) -> &'static str {
    match actual {
        Actual::Bool(_) => "true or false",
        Actual::Unsigned(_) | Actual::Signed(_) => "a number",
        Actual::Float(_) => "a number with a fraction",
        Actual::Str(_) | Actual::Char(_) => "a string",
        Actual::Seq => "a list",
        Actual::Map => "a table",
        _ => "something else",
    }
}

/// serde names some expectations by our types and some by its own words.
fn in_words(expected: &str) -> String {
    match expected {
        "a string" => "a string in quotes".into(),
        "a sequence" => "a list".into(),
        "a map" => "a table".into(),
        other if other.starts_with("struct ") => "a table".into(),
        other => other.into(),
    }
}
