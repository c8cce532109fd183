//! What tells settings from those before a reload: digests of all that they are made of, because
//! secrets are.

use std::collections::BTreeMap;
use std::path;

use aws_lc_rs::digest::{Context, SHA256};
use serde_json::Value;

use super::super::Revision;
use super::super::decode::{Path, Report};
use super::super::raw;
use crate::tls::read_file;

/// Of everything.
pub(super) fn of_all(report: &Report) -> Revision {
    let mut digest = Context::new(&SHA256);
    add(
        &mut digest,
        report.written_at(&Path::new([])).to_string().as_bytes(),
    );
    // What the configuration's own file says is in there already. Read once more, it could say something
    // else by now, and the digest would be that of neither.
    let own = report.main_file();
    for file in report
        .read_files()
        .keys()
        .filter(|file| Some(*file) != own.as_ref())
    {
        // One that cannot be read is told elsewhere.
        add(&mut digest, &read_file(file.as_ref()).unwrap_or_default());
    }
    finish(digest)
}

/// Of a table and its `tls`, but for these keys.
pub(super) fn of_table(report: &Report, path: &Path, tls: &raw::Tls, but_for: &[&str]) -> Revision {
    let mut written = report.written_at(path);
    if let Value::Object(table) = &mut written {
        table.retain(|key, _| !but_for.contains(&key.as_str()));
    }
    let mut digest = Context::new(&SHA256);
    add(&mut digest, written.to_string().as_bytes());
    let files = [&tls.ca_file, &tls.client_cert_file, &tls.client_key_file];
    for file in files.into_iter().flatten() {
        add(&mut digest, &read_file(file.as_ref()).unwrap_or_default());
    }
    finish(digest)
}

/// Of each key that a running gatepass cannot take up.
pub(super) fn of_fixed(report: &Report) -> BTreeMap<String, Revision> {
    let mut fixed = BTreeMap::new();
    for table in ["proxy", "admin", "log", "stores", "traces"] {
        let path = Path::new([table]);
        let Value::Object(keys) = report.written_at(&path) else {
            continue;
        };
        for (key, value) in keys {
            let path = path.key(&key).to_string();
            if !RELOADED.contains(&path.as_str()) {
                let mut digest = Context::new(&SHA256);
                add(&mut digest, value.to_string().as_bytes());
                add_files_in(&value, &mut digest, report);
                fixed.insert(path, finish(digest));
            }
        }
    }
    fixed
}

/// What the files hold that are part of the settings and named in a value. Those that are read again at
/// each use, such as a store's `key_file`, are not among them.
fn add_files_in(value: &Value, digest: &mut Context, report: &Report) {
    match value {
        Value::String(file) if report.read_files().contains_key(path::Path::new(file)) => {
            add(digest, &read_file(file.as_ref()).unwrap_or_default());
        }
        Value::Array(list) => list.iter().for_each(|of| add_files_in(of, digest, report)),
        Value::Object(table) => table
            .values()
            .for_each(|of| add_files_in(of, digest, report)),
        _ => {}
    }
}

/// With its length before it, so that parts cannot run into each other.
fn add(digest: &mut Context, part: &[u8]) {
    digest.update(&part.len().to_be_bytes());
    digest.update(part);
}

fn finish(digest: Context) -> Revision {
    let mut revision = Revision::default();
    let digest = digest.finish();
    for (to, from) in revision.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    revision
}

/// The keys of those tables that are taken up with a reload.
const RELOADED: [&str; 6] = [
    "log.access",
    "proxy.allowed_origins",
    "proxy.callers",
    "proxy.names",
    "proxy.tls",
    "proxy.trust_network",
];
