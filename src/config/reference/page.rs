//! The page with every key.

use std::fmt::Write as _;

use super::super::resolve::words;
use super::{Key, Kind};

pub(super) fn page(tables: &[Key]) -> String {
    let mut text = String::from(HEAD);
    for table in tables {
        let (title, path, kind) = table.opened();
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

Every key that `gatepass.toml` can have. This page is generated from the types that the file is read into
(`gatepass schema --page`). So is the JSON Schema by which editors complete and check the file:
`gatepass schema` prints it, and [`gatepass.schema.json`](gatepass.schema.json) is the same. For editors that
use Taplo, the file's first line names it:

```toml
#:schema ./gatepass.schema.json
```

[`config.example.toml`](../config.example.toml) has every key with a comment, and
[`deploy/examples`](../deploy/examples) has complete files. `gatepass check --show` shows what a preset fills in.

## Where values come from

The file is the one that `--config FILE` names, else `gatepass.toml` in the current directory, else
`/etc/gatepass/gatepass.toml`. Environment variables go over the file, and flags (`--listen`,
`--admin-listen`) over both. With `--upstream` there is no file: flags and variables say it all, with secrets
in those of the credential `default` (`GATEPASS__CREDENTIALS__DEFAULT__CLIENT_SECRET`).

The variable of a key is `GATEPASS__` and the parts of the key in capitals, with a double underscore between
them: `GATEPASS__PROXY__LISTEN`. One with too few underscores (`GATEPASS_PROXY_LISTEN`) is warned of. Lists,
and so `[[routes]]`, are set in the file only.

Tables below `[profile.NAME]` have the keys of the file itself. `--profile NAME`, or the variable
`GATEPASS_PROFILE`, puts them over the rest of the file: tables key by key, lists (and so `routes`) as a whole.
Variables and flags go over the profile.

```toml
[profile.production.credentials.envase]
environment = \"production\"
client_secret_file = \"/run/secrets/envase/production\"
```

## How values are written

- Lengths of time are written `30s` or `1m 30s`, sizes `64KiB`.
- A secret has three keys, of which one is written: for a file (`…_file`), for an environment variable
  (`…_env`), or for the secret itself. One that is set by a `GATEPASS__…` variable goes over whichever the file
  has.
- Paths are relative to the directory in which gatepass runs.
- Names of credentials, stores and routes are small letters, digits, `_`, `-` and `.`, without two `_` side by
  side. Where a shell is to set a variable for one, do without `-` and `.`.
- Files with certificates, their keys, authorities and header values are read again when they change, except
  those of `stores` and `traces`, which take [a restart](operations.md#change).
- A key that a credential's `grant_type` does not use is a mistake.
";
