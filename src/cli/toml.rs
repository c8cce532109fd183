//! TOML as gatepass writes it.

use serde_json::Value;

/// A string of TOML; one of JSON is always one.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
