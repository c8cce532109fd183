//! The whole configuration as it is resolved, with where each value comes from: a line of the file, a
//! variable, a flag, a preset, or a default.

use std::fmt::Write;

use serde_json::Value;
use url::Url;

use super::super::Settings;
use super::super::decode::{Path, Report};
use super::super::raw;
use super::super::reference::{Key, Kind};
use super::{DOTS, quoted};

/// As TOML with a comment behind each line.
pub(in super::super) fn annotated(settings: &Settings, report: &Report) -> String {
    let mut text = Text {
        report,
        written: format!("# {}\n", report.main_source()),
    };
    for table in raw::Config::KEYS {
        let path = Path::new([table.name]);
        match &table.kind {
            Kind::Named(_) if table.name == "credentials" => text.credentials(settings),
            Kind::Named(Kind::Table(keys)) => text.stores(&path, keys),
            Kind::List(Kind::Table(keys)) => text.routes(&path, keys),
            Kind::Table(keys) => {
                text.head(&format!("[{}]", table.name));
                text.keys(&path, "", keys, Defaults::Told);
            }
            _ => {}
        }
    }
    text.written
}

/// Whether keys that are not written are told with what is taken for granted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Defaults {
    Told,
    LeftOut,
    /// And nothing else.
    Alone,
}

struct Text<'a> {
    report: &'a Report,
    written: String,
}

impl Text<'_> {
    fn head(&mut self, head: &str) {
        let _ = writeln!(self.written, "\n{head}");
    }

    fn line(&mut self, key: &str, value: &str, origin: &str) {
        let line = format!("{key} = {value}");
        let _ = writeln!(self.written, "{line:<WIDTH$}  # {origin}");
    }

    /// The keys of a table, those of the tables in it by both names.
    fn keys(&mut self, path: &Path, prefix: &str, keys: &[Key], defaults: Defaults) {
        for key in keys {
            let path = path.key(key.name);
            let name = format!("{prefix}{}", key.name);
            if let Kind::Table(inner) = key.kind {
                self.keys(&path, &format!("{name}."), inner, defaults);
                continue;
            }
            let origin = self.report.origin(&path);
            match origin.filter(|_| defaults != Defaults::Alone) {
                Some(origin) => {
                    let value = shown(&self.report.written_at(&path), &key.kind);
                    self.line(&name, &value, &origin);
                }
                None if defaults == Defaults::LeftOut => {}
                None => {
                    if let Some(default) = default_of(key) {
                        self.line(&name, &default, "default");
                    }
                }
            }
        }
    }

    fn stores(&mut self, path: &Path, keys: &[Key]) {
        for name in names(&self.report.written_at(path)) {
            self.head(&format!("[stores.{name}]"));
            self.keys(&path.key(&name), "", keys, Defaults::Told);
        }
    }

    /// There may be many, and each takes the same for granted.
    fn routes(&mut self, path: &Path, keys: &[Key]) {
        let Value::Array(routes) = self.report.written_at(path) else {
            return;
        };
        for index in 0..routes.len() {
            self.head("[[routes]]");
            self.keys(&path.key(index), "", keys, Defaults::LeftOut);
        }
        self.head("# each of [[routes]] that does not say otherwise");
        self.keys(path, "", keys, Defaults::Alone);
    }

    fn credentials(&mut self, settings: &Settings) {
        for table in settings.credentials_in_full() {
            self.head(&format!("[credentials.{}]", table.credential));
            let path = Path::new(["credentials", &table.credential]);
            if let Some(origin) = self.report.origin(&path.key("preset")) {
                let preset = self.report.written_at(&path.key("preset"));
                self.line("preset", &preset.to_string(), &origin);
            }
            for (key, value) in &table.lines {
                let origin = self.origin_in(key, value, &path);
                self.line(key, value, &origin);
            }
        }
    }

    /// Where the value of a credential's key comes from.
    fn origin_in(&self, key: &str, value: &str, path: &Path) -> String {
        // The claims of a statement have names of their own; they are written in one table.
        let claims = key.starts_with("assertion_claims.");
        let key = if claims { "assertion_claims" } else { key };
        let at = key.split('.').fold(path.clone(), |path, key| path.key(key));
        if let Some(origin) = self.report.origin(&at) {
            return origin;
        }
        let variable = path.key(format_args!("{key}_env"));
        if let (Some(origin), Value::String(name)) = (
            self.report.origin(&variable),
            self.report.written_at(&variable),
        ) {
            return format!("variable {name}, {origin}");
        }
        let mut keys = raw::Credential::KEYS.iter();
        let by_default = keys.find(|of| of.name == key).and_then(default_of);
        let preset = self.report.written_at(&path.key("preset"));
        match (preset.as_str(), by_default) {
            (Some(preset), Some(by_default)) if by_default != value => format!("preset {preset}"),
            // It depends on other keys, which the preset may have filled in.
            (Some(preset), None) => format!("preset {preset} or default"),
            _ => "default".into(),
        }
    }
}

fn names(table: &Value) -> Vec<String> {
    let table = table.as_object().into_iter().flatten();
    table.map(|(name, _)| name.clone()).collect()
}

/// What is taken for granted, where that is a value.
fn default_of(key: &Key) -> Option<String> {
    let default = key.default.strip_prefix('`')?.strip_suffix('`')?;
    if default.contains('`') {
        return None;
    }
    let is_text = match key.kind {
        Kind::Flag | Kind::Number(..) | Kind::NumberOrWord(..) => false,
        Kind::NumberOr(_) => default.parse::<u64>().is_err(),
        // Where it is another key, that is no text.
        Kind::TextLike(_) => !default.contains('.'),
        _ => true,
    };
    Some(match is_text {
        true => quoted(default),
        false => default.to_owned(),
    })
}

/// A value as TOML, without what nobody may see.
fn shown(value: &Value, kind: &Kind) -> String {
    match (kind, value) {
        (Kind::Secret, _) | (Kind::SecretSource, Value::String(_)) => quoted(DOTS),
        (Kind::Named(kind), Value::Object(table)) => inline(table, |value| shown(value, kind)),
        // A file or a variable that a secret is in.
        (_, Value::Object(table)) => inline(table, |value| shown(value, &Kind::Text)),
        (_, Value::Array(list)) => {
            let list: Vec<_> = list.iter().map(|value| shown(value, kind)).collect();
            format!("[{}]", list.join(", "))
        }
        (_, Value::String(text)) => quoted(&without_userinfo(text)),
        (_, other) => other.to_string(),
    }
}

fn inline(table: &serde_json::Map<String, Value>, shown: impl Fn(&Value) -> String) -> String {
    let pair = |(name, value): (&String, &Value)| format!("{} = {}", quoted(name), shown(value));
    let pairs: Vec<_> = table.iter().map(pair).collect();
    format!("{{ {} }}", pairs.join(", "))
}

/// A password may stand in an address.
fn without_userinfo(text: &str) -> String {
    let address = Url::parse(text).ok().filter(Url::has_authority);
    let Some(mut address) = address.filter(|url| url.password().is_some() || url.query().is_some())
    else {
        return text.to_owned();
    };
    // Neither fails for an address with a host.
    let _ = address.set_password(None);
    address.set_query(None);
    address.to_string()
}

/// Beyond it, where a value comes from is no longer below that of the others.
const WIDTH: usize = 44;

#[cfg(test)]
mod tests;
