//! On which line of a file each key stands.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use toml::Spanned;

/// The lines of a file's keys, counted from 1, by the way to each key.
#[derive(Debug, Default)]
pub(super) struct Places(BTreeMap<Vec<String>, usize>);

impl Places {
    /// The keys of a text that is TOML; none of one that is not.
    pub(super) fn of(text: &str) -> Self {
        let mut places = Self::default();
        if let Ok(tree) = toml::from_str::<Located>(text) {
            // Counted once: from the beginning for each key, a thousand routes would take a second.
            let breaks: Vec<_> = text.match_indices('\n').map(|(at, _)| at).collect();
            places.note(&tree, &mut Vec::new(), &breaks);
        }
        places
    }

    /// The line of a key; that of the table around it if it is not written.
    pub(super) fn line_of(&self, path: &[String]) -> Option<usize> {
        let lengths = (1..=path.len()).rev();
        let mut paths = lengths.filter_map(|length| path.get(..length));
        paths.find_map(|path| self.0.get(path).copied())
    }

    fn note(&mut self, tree: &Located, path: &mut Vec<String>, breaks: &[usize]) {
        for (key, offset, inner) in tree.inner() {
            path.push(key);
            // A table may be opened again further down; it stands where it stands first.
            let line = breaks.partition_point(|at| *at < offset) + 1;
            self.0.entry(path.clone()).or_insert(line);
            self.note(inner, path, breaks);
            path.pop();
        }
    }
}

/// Where in a text an offset is, both counted from 1.
pub(super) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    (line, column)
}

/// A value of which only the places matter.
enum Located {
    Table(Vec<(Spanned<String>, Located)>),
    List(Vec<Spanned<Located>>),
    Leaf,
}

impl Located {
    /// What stands in it: by which key or number, and where.
    fn inner(&self) -> Vec<(String, usize, &Self)> {
        match self {
            Self::Table(keys) => keys
                .iter()
                .map(|(key, value)| (key.get_ref().clone(), key.span().start, value))
                .collect(),
            Self::List(values) => values
                .iter()
                .enumerate()
                .map(|(index, value)| (index.to_string(), value.span().start, value.get_ref()))
                .collect(),
            Self::Leaf => Vec::new(),
        }
    }
}

impl<'de> Deserialize<'de> for Located {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LocatedVisitor)
    }
}

struct LocatedVisitor;

impl<'de> Visitor<'de> for LocatedVisitor {
    type Value = Located;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of TOML")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<Located, A::Error> {
        let mut keys = Vec::new();
        while let Some(entry) = table.next_entry()? {
            keys.push(entry);
        }
        Ok(Located::Table(keys))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Located, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(Located::List(values))
    }

    fn visit_str<E>(self, _: &str) -> Result<Located, E> {
        Ok(Located::Leaf)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Located, E> {
        Ok(Located::Leaf)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Located, E> {
        Ok(Located::Leaf)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Located, E> {
        Ok(Located::Leaf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
proxy.workers = 2
[credentials.a]
client_id = \"x\"
tls = { ca_file = \"y\" }

[[routes]]
path = \"/a\"
[[routes]]
methods = [
  \"GET\",
  \"POST\",
]
[credentials.b]
[proxy.limits]
streams = 1
";

    #[test]
    fn each_key_has_its_line() {
        let places = Places::of(TEXT);
        for (path, line) in [
            ("proxy", Some(1)),
            ("proxy.workers", Some(1)),
            ("proxy.limits", Some(14)),
            ("proxy.limits.streams", Some(15)),
            ("credentials.a", Some(2)),
            ("credentials.a.client_id", Some(3)),
            ("credentials.a.tls.ca_file", Some(4)),
            ("credentials.b", Some(13)),
            ("routes.0", Some(6)),
            ("routes.0.path", Some(7)),
            ("routes.1", Some(8)),
            ("routes.1.methods.1", Some(11)),
            // What is missing is missing from the table around it.
            ("credentials.a.client_secret", Some(2)),
            ("routes.1.upstream", Some(8)),
            ("admin.listen", None),
        ] {
            let path: Vec<_> = path.split('.').map(ToOwned::to_owned).collect();
            assert_eq!(places.line_of(&path), line, "{path:?}");
        }
    }

    #[test]
    fn what_is_no_toml_has_no_places() {
        assert_eq!(Places::of("routes = [").line_of(&["routes".into()]), None);
    }
}
