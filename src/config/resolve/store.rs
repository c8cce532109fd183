//! `[stores.NAME]`

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use redis::{ClientTlsConfig, TlsCertificates};
use url::Url;

use super::super::decode::{Path, Report};
use super::super::raw;
use super::super::scalar::{OneOrMany, value_or};
use super::secret::{self, Keys};
use super::{
    LEGAL_NAME, TrustedRoots, choice, exposure, is_legal_name, refuse_keys, required, trust,
};
use crate::oauth::transport::is_loopback;
use crate::store::redis::{DEFAULT_PORT, Node, Password, RedisTls, Topology};
use crate::store::{Directory, KeyFile, Place, RedisSettings, Seal, Settings};
use crate::tls::read_file;

/// Resolves the stores; none if any of them has a mistake.
pub(super) fn resolve(
    raw: BTreeMap<String, raw::Store>,
    roots: &mut TrustedRoots,
    report: &mut Report,
) -> Option<BTreeMap<String, Settings>> {
    let resolved: Vec<_> = raw
        .into_iter()
        .map(|(name, raw)| Some((name.clone(), store(&name, raw, roots, report)?)))
        .collect();
    resolved.into_iter().collect()
}

fn store(
    name: &str,
    mut raw: raw::Store,
    roots: &mut TrustedRoots,
    report: &mut Report,
) -> Option<Settings> {
    let path = Path::new(["stores", name]);
    if name == MEMORY {
        let expected = "another one; it is the word of credentials that share nothing";
        report.add(&path, "the name \"memory\"", expected);
    } else if !is_legal_name(name) {
        report.add(&path, format!("the name {name:?}"), LEGAL_NAME);
    }
    let seal = seal(&raw, &path, report);
    let kind = required(raw.kind.take(), &path.key("kind"), KINDS, report);
    let place = match kind.as_deref() {
        Some("file") => {
            refuse_of_other_kinds(&KEYS_OF_REDIS, "file", &path, report);
            directory(raw.directory.take(), &path.key("directory"), report)
        }
        Some("redis") => {
            refuse_of_other_kinds(&["directory"], "redis", &path, report);
            redis(&mut raw, &path, roots, report).map(|redis| Place::Redis(Box::new(redis)))
        }
        Some(other) => {
            report.add(&path.key("kind"), format!("{other:?}"), KINDS);
            None
        }
        None => None,
    };
    Some(Settings {
        place: place?,
        seal: seal?,
        timeout: value_or(raw.timeout, DEFAULT_TIMEOUT),
    })
}

fn refuse_of_other_kinds(keys: &[&str], kind: &str, path: &Path, report: &mut Report) {
    let found = format!("a key that kind = {kind:?} does not use");
    refuse_keys(keys, &found, "another key, or another kind", path, report);
}

/// Whoever wants tokens to lie about in the clear has to say so.
fn seal(raw: &raw::Store, path: &Path, report: &mut Report) -> Option<Seal> {
    let in_the_clear = value_or(raw.unencrypted, false);
    match (&raw.key_file, in_the_clear) {
        (Some(_), true) => {
            report.add(path, "key_file and unencrypted = true", "only one of them");
            None
        }
        (None, true) => Some(Seal::Clear),
        (Some(file), false) => {
            let key = path.key("key_file");
            // Looked at first: one who pastes a key in the place of its file is not shown it.
            secret::key_file(file.clone(), &key, report)?;
            let seal = Seal::Keys(KeyFile::new(PathBuf::from(file)));
            match seal.check_blocking() {
                Ok(()) => Some(seal),
                Err(error) => {
                    report.add(&key, error.to_string(), KEY_FILE);
                    None
                }
            }
        }
        (None, false) => {
            if !report.is_written(&path.key("key_file")) {
                report.add(&path.key("key_file"), "nothing", KEY_FILE);
            }
            None
        }
    }
}

/// A store is no condition, so one that is not there yet, or not to be written to, is no mistake.
fn directory(written: Option<String>, path: &Path, report: &mut Report) -> Option<Place> {
    let expected = "a directory that gatepass may write to";
    let directory = required(written, path, expected, report)?;
    secret::refuse_unexpanded(&directory, path, report)?;
    let directory = PathBuf::from(directory);
    if let Err(error) = Directory::check_blocking(&directory) {
        report.warn(format!(
            "{path}: {error}; until it is {expected}, each process asks the provider by itself"
        ));
    } else if exposure::writable_by_others(&directory) {
        report.warn(format!(
            "{path}: every user of this machine can write to {}, and take away what is kept there; \
             better is a directory of gatepass's own (chmod 700)",
            directory.display()
        ));
    }
    Some(Place::Directory(directory))
}

fn redis(
    raw: &mut raw::Store,
    path: &Path,
    roots: &mut TrustedRoots,
    report: &mut Report,
) -> Option<RedisSettings> {
    let topology = topology(raw, path, report);
    let servers = servers(raw.url.take(), &path.key("url"), report);
    let password = Keys {
        name: "password",
        value: raw.password.take(),
        file: raw.password_file.take(),
        variable: raw.password_env.take(),
    };
    let password = read_again(password, path, report);
    let sentinel_password = Keys {
        name: "sentinel_password",
        value: raw.sentinel_password.take(),
        file: raw.sentinel_password_file.take(),
        variable: raw.sentinel_password_env.take(),
    };
    let sentinel_password = read_again(sentinel_password, path, report);
    let is_tls = servers.as_ref().is_some_and(|servers| servers.tls);
    let scheme = if is_tls { "https" } else { "http" };
    trust::refuse_server_name(&raw.tls, "a server's", path, report);
    let client_config = roots.config(scheme, &raw.tls, path, report);
    let (servers, topology) = (servers?, topology?);
    if topology == Topology::Standalone && servers.nodes.len() > 1 {
        let expected = "one address; or topology = \"sentinel\" or \"cluster\"";
        report.add(
            &path.key("url"),
            "several addresses of one server",
            expected,
        );
        return None;
    }
    if topology == Topology::Cluster && servers.database != 0 {
        let found = "a database, of which a Cluster has one only";
        report.add(&path.key("url"), found, "addresses without a path");
    }
    let (password, sentinel_password) = (password?, sentinel_password?);
    let has_password = password.is_some() || sentinel_password.is_some();
    warn_in_the_clear(&servers, has_password, path, report);
    let tls = RedisTls {
        client_config: client_config?,
        certificates: certificates(&raw.tls, &path.key("tls"), report)?,
    };
    Some(RedisSettings {
        nodes: servers.nodes,
        topology,
        tls: servers.tls.then_some(tls),
        username: raw.username.take(),
        password,
        sentinel_username: raw.sentinel_username.take(),
        sentinel_password,
        database: servers.database,
    })
}

/// A password that must be there now, and may be another one for the next connection.
fn read_again(keys: Keys, path: &Path, report: &mut Report) -> Option<Option<Password>> {
    let secret = keys.resolve(path, report)?;
    Some(secret.map(|secret| {
        Password::new(move || secret.read_blocking().map_err(|error| error.to_string()))
    }))
}

fn topology(raw: &mut raw::Store, path: &Path, report: &mut Report) -> Option<Topology> {
    let word = choice(
        raw.topology.as_deref(),
        &TOPOLOGIES,
        &path.key("topology"),
        report,
    )?;
    let word = word.unwrap_or(Word::Standalone);
    if word != Word::Sentinel {
        let found = "a key that is used with topology = \"sentinel\" only";
        let expected = "another topology, or no such key";
        refuse_keys(&KEYS_OF_SENTINELS, found, expected, path, report);
    }
    Some(match word {
        Word::Standalone => Topology::Standalone,
        Word::Cluster => Topology::Cluster,
        Word::Sentinel => Topology::Sentinel(required(
            raw.service.take(),
            &path.key("service"),
            "the name by which the Sentinels know the servers, such as \"mymaster\"",
            report,
        )?),
    })
}

struct Servers {
    nodes: Vec<Node>,
    tls: bool,
    database: i64,
    all_on_loopback: bool,
}

/// What an address says.
struct Server {
    node: Node,
    tls: bool,
    database: i64,
    on_loopback: bool,
}

fn servers(written: Option<OneOrMany>, path: &Path, report: &mut Report) -> Option<Servers> {
    let addresses = written.unwrap_or_default().0;
    if addresses.is_empty() {
        if !report.is_written(path) || report.is_empty_list(path) {
            report.add(path, "nothing", URL);
        }
        return None;
    }
    let servers: Vec<_> = addresses
        .iter()
        .map(|address| server(address, path, report))
        .collect();
    let servers: Vec<Server> = servers.into_iter().collect::<Option<_>>()?;
    let first = servers.first()?;
    let (tls, database) = (first.tls, first.database);
    let is_alike = |other: &Server| other.tls == tls && other.database == database;
    if !servers.iter().all(is_alike) {
        let expected = "redis:// or rediss:// for all of them, and the same database";
        report.add(path, "addresses of different kinds", expected);
        return None;
    }
    Some(Servers {
        all_on_loopback: servers.iter().all(|server| server.on_loopback),
        nodes: servers.into_iter().map(|server| server.node).collect(),
        tls,
        database,
    })
}

/// It is not shown: a password may stand in it.
fn server(address: &str, path: &Path, report: &mut Report) -> Option<Server> {
    let mut fault = |found: &str, expected: &str| {
        report.add(path, found, expected);
        None
    };
    let Ok(url) = Url::parse(address) else {
        return fault("something that is no address (not shown)", URL);
    };
    let tls = match url.scheme() {
        "redis" => false,
        "rediss" => true,
        _ => return fault("an address of another kind (not shown)", URL),
    };
    if !url.username().is_empty() || url.password().is_some() {
        let expected = "username and password_file beside it";
        return fault("an address with a user or a password (not shown)", expected);
    }
    let Some(host) = url.host_str().filter(|host| !host.is_empty()) else {
        return fault("an address without a host", URL);
    };
    let database = match url.path().trim_start_matches('/') {
        "" => Some(0),
        number => number.parse().ok().filter(|number: &i64| *number >= 0),
    };
    let Some(database) = database.filter(|_| url.query().is_none()) else {
        return fault(
            "an address with more than the number of a database behind it",
            URL,
        );
    };
    let node = Node {
        host: host.trim_matches(['[', ']']).to_owned(),
        port: url.port().unwrap_or(DEFAULT_PORT),
    };
    Some(Server {
        node,
        tls,
        database,
        // The library knows hosts of http:// and its like only.
        on_loopback: Url::parse(&format!("http://{host}/")).is_ok_and(|url| is_loopback(&url)),
    })
}

/// What is sealed may travel without TLS; a password had better not.
fn warn_in_the_clear(servers: &Servers, has_password: bool, path: &Path, report: &mut Report) {
    if !servers.tls && !servers.all_on_loopback && has_password {
        report.warn(format!(
            "{}: the password of the store travels without TLS; have the servers take rediss://",
            path.key("url")
        ));
    }
}

/// The same files once more, as the Redis client wants them. They are found good by now: what is in
/// the place of a path and is none, such as the key itself, does not come here.
fn certificates(raw: &raw::Tls, path: &Path, report: &mut Report) -> Option<TlsCertificates> {
    let mut read = |file: &str, key: &str| match read_file(file.as_ref()) {
        Ok(pem) => Some(pem),
        Err(error) => {
            report.add(&path.key(key), error.to_string(), "a readable PEM file");
            None
        }
    };
    let root_cert = match &raw.ca_file {
        Some(file) => Some(read(file, "ca_file")?),
        None => None,
    };
    let client_tls = match (&raw.client_cert_file, &raw.client_key_file) {
        (Some(certificate), Some(key)) => Some(ClientTlsConfig {
            client_cert: read(certificate, "client_cert_file")?,
            client_key: read(key, "client_key_file")?,
        }),
        _ => None,
    };
    Some(TlsCertificates {
        client_tls,
        root_cert,
    })
}

/// The word of credentials that share nothing.
pub(super) const MEMORY: &str = "memory";

const KINDS: &str = "\"redis\" for a fleet, or \"file\" for the processes of one machine";

const KEY_FILE: &str = "a file with a key, as `openssl rand -base64 32` makes one; or \
                        unencrypted = true to keep tokens in the clear";

const URL: &str = "redis://HOST:PORT, or rediss:// with TLS; a list of them for a Cluster or for \
                   Sentinels";

const KEYS_OF_SENTINELS: [&str; 5] = [
    "service",
    "sentinel_username",
    "sentinel_password",
    "sentinel_password_file",
    "sentinel_password_env",
];

const KEYS_OF_REDIS: [&str; 12] = [
    "url",
    "topology",
    "service",
    "username",
    "password",
    "password_file",
    "password_env",
    "sentinel_username",
    "sentinel_password",
    "sentinel_password_file",
    "sentinel_password_env",
    "tls",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Standalone,
    Sentinel,
    Cluster,
}

pub(super) const TOPOLOGIES: [(&str, Word); 3] = [
    ("standalone", Word::Standalone),
    ("sentinel", Word::Sentinel),
    ("cluster", Word::Cluster),
];

/// Longer than a healthy store ever takes.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
