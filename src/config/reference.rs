//! Every key that can be written, from the types that it is read into: as a JSON Schema for editors,
//! and as a page for people.

mod page;
mod schema;

use std::collections::BTreeMap;

use secrecy::SecretString;

use super::raw;
use super::scalar::{
    Count, FileMode, Flag, Number, OneOrMany, Percentage, Retries, Scalar, SecretSource, Share,
    Size, Span, Workers,
};

/// The schema, as JSON.
pub fn json_schema() -> String {
    schema::schema(&raw::Config::KIND)
}

/// The page, as Markdown.
pub fn page() -> String {
    page::page(raw::Config::KEYS)
}

/// One key of a table.
pub(super) struct Key {
    pub(super) name: &'static str,
    /// What is taken for granted where it is not written; as Markdown.
    pub(super) default: &'static str,
    /// What it means; as Markdown. Empty for a table, whose keys say it.
    pub(super) meaning: &'static str,
    pub(super) kind: Kind,
}

impl Key {
    /// A table of the file itself: how it is opened there, the path of what stands in it, and what that is.
    pub(super) fn opened(&self) -> (String, String, &Kind) {
        let name = self.name;
        match &self.kind {
            Kind::Named(inner) => (format!("[{name}.NAME]"), format!("{name}.NAME"), inner),
            Kind::List(inner) => (format!("[[{name}]]"), format!("{name}[]"), inner),
            inner => (format!("[{name}]"), name.to_owned(), inner),
        }
    }
}

/// What can be written for a key.
pub(super) enum Kind {
    /// A text.
    Text,
    /// A text that nobody may see.
    Secret,
    /// A text of a form of its own, which the words describe.
    TextLike(&'static str),
    /// A whole number between these.
    Number(u64, u64),
    /// A number, or a text of a form of its own.
    NumberOr(&'static str),
    /// A whole number from this on, or this word.
    NumberOrWord(u64, &'static str),
    /// Yes or no.
    Flag,
    /// A text or a list of texts.
    OneOrMany,
    /// A text, or where it is kept.
    SecretSource,
    /// A table with these keys.
    Table(&'static [Key]),
    /// A table whose keys are the user's.
    Named(&'static Self),
    /// A list.
    List(&'static Self),
}

/// A type that says what can be written for it.
pub(super) trait Described {
    const KIND: Kind;
}

/// Tables as they are read, and as they are told: each key with its type, what is taken for granted
/// where it is not written, and what it means, both as Markdown.
macro_rules! tables {
    ($($table:ident { $($key:ident: $type:ty $(= $default:literal, $meaning:literal)?;)* })*) => {$(
        #[derive(Debug, Default)]
        pub(in crate::config) struct $table {
            $(pub(in crate::config) $key: $type,)*
        }

        impl $table {
            pub(in crate::config) const KEYS: &[Key] = &[$(Key {
                name: stringify!($key),
                default: concat!($($default)?),
                meaning: concat!($($meaning)?),
                kind: <$type as Described>::KIND,
            },)*];
        }

        impl Described for $table {
            const KIND: Kind = Kind::Table(Self::KEYS);
        }

        impl Decode for $table {
            fn decode(value: &Value, path: &Path, report: &mut Report) -> Option<Self> {
                let mut table = Table::open(value, Self::KEYS, path, report)?;
                Some(Self {
                    $($key: table.read(stringify!($key)),)*
                })
            }
        }
    )*};
}
pub(super) use tables;

macro_rules! describe {
    ($($type:ty: $kind:expr;)*) => {$(
        impl Described for $type {
            const KIND: Kind = $kind;
        }
    )*};
}

describe! {
    String: Kind::Text;
    SecretString: Kind::Secret;
    Span: Kind::TextLike(Span::EXPECTED);
    Share: Kind::TextLike(Share::EXPECTED);
    Percentage: Kind::TextLike(Percentage::EXPECTED);
    FileMode: Kind::TextLike(FileMode::EXPECTED);
    Size: Kind::NumberOr(Size::EXPECTED);
    Count: Kind::Number(1, u64::MAX);
    Workers: Kind::NumberOrWord(1, "auto");
    Number: Kind::Number(0, u32::MAX as u64);
    Retries: Kind::Number(0, Retries::MOST as u64);
    Flag: Kind::Flag;
    OneOrMany: Kind::OneOrMany;
    SecretSource: Kind::SecretSource;
}

impl<T: Described> Described for Option<T> {
    const KIND: Kind = T::KIND;
}

impl<T: Described> Described for Vec<T> {
    const KIND: Kind = Kind::List(&T::KIND);
}

impl<T: Described> Described for BTreeMap<String, T> {
    const KIND: Kind = Kind::Named(&T::KIND);
}
