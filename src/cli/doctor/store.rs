//! The way to a store that credentials share their tokens in.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustls::pki_types::ServerName;

use super::super::progress::Progress;
use super::report::{Examination, Fault, Step, Walk};
use super::way::{Server, reach};
use crate::store::{Directory, Place, RedisSettings, Settings, StoreError, Stores};

/// What was found, and whether the store can be used.
pub(super) async fn examine(
    name: &str,
    settings: &Settings,
    stores: &Stores,
    progress: Progress,
) -> (Examination, bool) {
    let mut walk = Walk::new(format!("store \"{name}\""), progress);
    let usable = match &settings.place {
        Place::Directory(path) => walk.take("directory", look_at(path)).await,
        Place::Redis(redis) => by_network(&mut walk, name, settings, redis, stores).await,
    };
    (walk.over(), usable.is_some())
}

async fn look_at(path: &Path) -> Result<((), String), Fault> {
    let shown = path.display();
    Directory::check_blocking(path).map_err(|error| fault(&error))?;
    let metadata = fs::metadata(path).map_err(|error| {
        Fault::new(
            format!("{shown}: {error}"),
            "check the path, and who may use it",
        )
    })?;
    let mode = metadata.mode() & 0o7777;
    let said = format!(
        "{shown} can be written to, mode {mode:04o}, user {}",
        metadata.uid()
    );
    Ok(((), said))
}

/// Each server, as one that is down may not be missed until others are; and what is asked of them.
async fn by_network(
    walk: &mut Walk,
    name: &str,
    settings: &Settings,
    redis: &RedisSettings,
    stores: &Stores,
) -> Option<()> {
    let mut reached = None;
    for node in &redis.nodes {
        let name = ServerName::try_from(node.host.clone()).ok();
        let config = redis.tls.as_ref().map(|tls| &tls.client_config);
        let server = Server {
            host: &node.host,
            port: node.port,
            tls: config.zip(name),
            key: "url",
            // It would be redis://, which is another word.
            may_be_plain: false,
            limit: settings.timeout,
        };
        reached = reach(walk, &server).await.map(drop).or(reached);
    }
    reached?;
    let work = async {
        let tried = stores.try_out(name).await;
        tried.map_err(|error| fault(&error))?;
        Ok(((), "entries can be read and written".into()))
    };
    walk.take("entries", work).await
}

/// What a store's no means at a step.
pub(super) fn fault(error: &StoreError) -> Fault {
    let (why, next) = error.parts();
    Fault::new(why, next)
}

/// What the store has for a credential, which may need somebody to have logged in.
pub(super) fn entry(
    walk: &mut Walk,
    store: &str,
    found: Result<bool, StoreError>,
    needs_login: bool,
) {
    walk.note(match found {
        Ok(true) => Step::good(
            "store",
            format!("\"{store}\" has an entry that can be read here"),
        ),
        Ok(false) if needs_login => Step::broken(
            "store",
            Fault::new(
                format!("nobody has logged in: \"{store}\" has no session"),
                "run `gatepass login` with the credential's name",
            ),
        ),
        Ok(false) => Step::good("store", format!("\"{store}\" has nothing yet")),
        Err(error) => Step::broken("store", fault(&error)),
    });
}
