//! Values that may be written in more than one form.

use std::fmt;

use secrecy::SecretString;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Unexpected, Visitor};

/// One text or a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct OneOrMany(pub(in crate::config) Vec<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrManyVisitor)
    }
}

struct OneOrManyVisitor;

impl<'de> Visitor<'de> for OneOrManyVisitor {
    type Value = OneOrMany;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a list of strings")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOrMany, E> {
        Ok(OneOrMany(vec![text.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<OneOrMany, A::Error> {
        let mut all = Vec::new();
        while let Some(text) = list.next_element()? {
            all.push(text);
        }
        Ok(OneOrMany(all))
    }
}

/// A value that may be secret: itself, or where it is kept (`{ file = "…" }`, `{ env = "…" }`).
#[derive(Debug, Clone)]
pub(in crate::config) enum SecretSource {
    Value(SecretString),
    File(String),
    Variable(String),
}

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecretSourceVisitor)
    }
}

struct SecretSourceVisitor;

impl<'de> Visitor<'de> for SecretSourceVisitor {
    type Value = SecretSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string in quotes, { file = \"…\" } or { env = \"…\" }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<SecretSource, E> {
        Ok(SecretSource::Value(text.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<SecretSource, A::Error> {
        let first: Option<(String, String)> = table.next_entry()?;
        let source = match first {
            Some((key, file)) if key == "file" => SecretSource::File(file),
            Some((key, name)) if key == "env" => SecretSource::Variable(name),
            Some(_) | None => return Err(de::Error::invalid_type(Unexpected::Map, &self)),
        };
        match table.next_key::<String>()? {
            None => Ok(source),
            Some(_) => Err(de::Error::invalid_type(Unexpected::Map, &self)),
        }
    }
}
