//! Profiles: what a file says of one environment, over what it says of all.
//!
//! Tables below `[profile.NAME]` have the keys of the file itself. That of the chosen profile goes over
//! the rest of the file, as figment merges: tables key by key, and lists as a whole.

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

use super::places::Places;
use super::problem::{Problem, Problems, near_miss};

/// A table of a file, as a layer.
pub(super) struct FileTable {
    layer: &'static str,
    table: Dict,
}

impl Provider for FileTable {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.layer)
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.table.clone()))
    }
}

/// The layers of a file: what it says of all, and what its profile says, if one is wanted.
pub(super) fn layers(
    text: &str,
    wanted: Option<&str>,
    source: &str,
    places: &Places,
) -> Result<[FileTable; 2], Problems> {
    let told = |path: &[&str], found: String, expected: String| {
        let path: Vec<_> = path.iter().map(ToString::to_string).collect();
        Problems::one(Problem {
            line: places.line_of(&path),
            key: path.join("."),
            ..Problem::of_source(source, found, expected)
        })
    };
    let data = Toml::string(text).data();
    let mut data = data.map_err(|_| {
        told(
            &[],
            "something that is no table".into(),
            "valid TOML".into(),
        )
    })?;
    let mut table = data.remove(&Profile::Default).unwrap_or_default();
    let mut profiles = match table.remove(PROFILE) {
        None => Dict::new(),
        Some(Value::Dict(_, profiles)) => profiles,
        Some(_) => {
            return Err(told(&[PROFILE], "no table".into(), TABLE.into()));
        }
    };
    if let Some((name, _)) = profiles.iter().find(|(_, value)| value.as_dict().is_none()) {
        return Err(told(&[PROFILE, name], "no table".into(), TABLE.into()));
    }
    let over = match wanted {
        None => Dict::new(),
        Some(name) => match profiles.remove(name) {
            Some(Value::Dict(_, over)) => over,
            _ => {
                let found = format!("no profile {name:?}, which --profile or {VARIABLE} asks for");
                let names = profiles.keys().map(String::as_str);
                let expected = match near_miss(name, names.clone()) {
                    Some(meant) => {
                        format!("[profile.{name}], or another one; did you mean {meant}?")
                    }
                    None if profiles.is_empty() => format!("[profile.{name}], or no profile"),
                    None => format!("one of {}", names.collect::<Vec<_>>().join(", ")),
                };
                return Err(told(&[], found, expected));
            }
        },
    };
    Ok([
        FileTable {
            layer: "file",
            table,
        },
        FileTable {
            layer: PROFILE,
            table: over,
        },
    ])
}

/// The names of a file's profiles.
pub(super) fn names(text: &str) -> Vec<String> {
    let table = toml::from_str::<toml::Table>(text).unwrap_or_default();
    let profiles = table.get(PROFILE).and_then(toml::Value::as_table);
    profiles
        .into_iter()
        .flat_map(|profiles| profiles.keys().cloned())
        .collect()
}

/// The table of all profiles, and the name of their layer.
pub(super) const PROFILE: &str = "profile";

/// The environment variable that chooses a profile.
pub(super) const VARIABLE: &str = "GATEPASS_PROFILE";

const TABLE: &str = "a table for each profile, such as [profile.staging.credentials.envase]";
