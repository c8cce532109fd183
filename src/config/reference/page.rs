//! The page with every key.

use std::fmt::Write as _;

use super::super::resolve::words;
use super::{Key, Kind};

pub(super) fn page(root: &Kind) -> String {
    let mut text = String::from(HEAD);
    let Kind::Table(tables) = root else {
        return text;
    };
    for table in *tables {
        let (title, kind, path) = match &table.kind {
            Kind::Named(inner) => {
                let path = format!("{}.NAME", table.name);
                (format!("[{path}]"), *inner, path)
            }
            Kind::List(inner) => (
                format!("[[{}]]", table.name),
                *inner,
                format!("{}[]", table.name),
            ),
            other => (format!("[{}]", table.name), other, table.name.to_owned()),
        };
        let _ = write!(
            text,
            "\n## `{title}`\n\n| key | default | meaning |\n|---|---|---|\n"
        );
        rows(kind, &path, &mut text);
    }
    text
}

fn rows(kind: &Kind, path: &str, text: &mut String) {
    let Kind::Table(keys) = kind else {
        return;
    };
    for key in *keys {
        let path = format!("{path}.{}", key.name);
        match &key.kind {
            inner @ Kind::Table(_) => rows(inner, &path, text),
            _ => row(key, &path, text),
        }
    }
}

fn row(key: &Key, path: &str, text: &mut String) {
    let words: Vec<_> = words(path).iter().map(|word| format!("`{word}`")).collect();
    let told = format!("{} {}", key.default, key.meaning);
    let known = words.iter().all(|word| told.contains(word.as_str()));
    // Where the words are not told apart, they are listed.
    let words = match known {
        true => String::new(),
        false => format!("; one of {}", words.join(", ")),
    };
    let _ = writeln!(
        text,
        "| `{path}` | {} | {}{words} |",
        key.default, key.meaning
    );
}

const HEAD: &str = "\
# Configuration

Every key that `gatepass.toml` can have. This page comes from the types that the file is read into
(`gatepass schema --page`), as does the schema by which editors complete and check the file:
[`gatepass.schema.json`](gatepass.schema.json), which `gatepass schema` prints. For editors that use
Taplo, the file's first line names it:

```toml
#:schema ./gatepass.schema.json
```

[`config.example.toml`](../config.example.toml) has every key with a comment, and
[`deploy/examples`](../deploy/examples) complete files. What a preset fills in is shown by
`gatepass check --show`.

Lengths of time are written `30s` or `1m 30s`, sizes `64KiB`. Of three keys for a secret one is
written: in a file (`…_file`), in an environment variable (`…_env`), or the secret itself. Paths are
relative to the directory in which gatepass runs. Names of credentials, stores and routes are small
letters, digits, `_`, `-` and `.`.

Any key outside of `[[routes]]` can also be set by an environment variable: `GATEPASS__` and the parts
of the key in capitals, with a double underscore between them.

Tables below `[profile.NAME]` have the keys of the file itself. `--profile NAME`, or the variable
`GATEPASS_PROFILE`, puts them over the rest of the file: tables key by key, lists (and so `routes`) as a
whole.
";
