//! The stores of a configuration, by name.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::timeout;

use super::{
    Backend, Directory, Entry, Redis, RedisSettings, Seal, Standings, StoreError, StoreMetrics,
    StoresMetrics, Swap,
};

/// A store as it is configured.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it is.
    pub place: Place,
    /// How what is kept there is written.
    pub seal: Seal,
    /// How long a call may take.
    pub timeout: Duration,
}

/// Where a store is.
#[derive(Debug, Clone)]
pub enum Place {
    /// In files of this machine.
    Directory(PathBuf),
    /// In a Redis or Valkey.
    Redis(Box<RedisSettings>),
}

/// The stores that credentials share their tokens in. Those of one store use one connection.
pub struct Stores {
    by_name: BTreeMap<String, (Rc<dyn Backend>, Seal, Duration)>,
    metrics: StoresMetrics,
}

impl Stores {
    /// Puts them together; nothing is asked yet.
    pub fn new(settings: BTreeMap<String, Settings>, metrics: StoresMetrics) -> Self {
        let backend = |settings: Settings| {
            let backend: Rc<dyn Backend> = match settings.place {
                Place::Directory(path) => Rc::new(Directory::new(path, settings.timeout)),
                Place::Redis(redis) => Rc::new(Redis::new(*redis, settings.timeout)),
            };
            (backend, settings.seal, settings.timeout)
        };
        let by_name = settings.into_iter();
        Self {
            by_name: by_name.map(|(name, of)| (name, backend(of))).collect(),
            metrics,
        }
    }

    /// Whether there is one of this name.
    pub fn has(&self, store: &str) -> bool {
        self.by_name.contains_key(store)
    }

    /// Reads and writes what nobody needs, as a credential would, for those who look for what is
    /// wrong.
    ///
    /// # Errors
    ///
    /// A credential could not.
    pub async fn try_out(&self, store: &str) -> Result<(), StoreError> {
        let Some((backend, _, time_out)) = self.by_name.get(store) else {
            return Ok(());
        };
        let tried = timeout(*time_out, async {
            let found = backend.read(PROBE).await?;
            let swap = Swap {
                old: &found.bytes,
                new: b"somebody looks for what is wrong",
                keep_for: Duration::from_secs(1),
                is_news: false,
            };
            // Whether another one was faster says nothing.
            backend.swap(PROBE, swap).await.map(drop)
        });
        tried.await.unwrap_or(Err(StoreError::TooLate(*time_out)))
    }

    /// What there is to say in words about the sharing of each credential.
    pub fn standings(&self) -> Standings {
        self.metrics.standings()
    }

    /// What one credential shows of its sharing.
    pub fn metrics(&self, credential: &str, per_hour: Option<u32>) -> StoreMetrics {
        self.metrics.for_credential(credential, per_hour)
    }

    /// Has operators see what one credential shows of its sharing, or that it shares nothing.
    pub fn show(&self, credential: &str, metrics: Option<&StoreMetrics>) {
        match metrics {
            Some(metrics) => self.metrics.show(credential, metrics),
            None => self.metrics.forget(credential),
        }
    }

    /// A credential's entry in one of them, if there is one of this name.
    pub fn entry(
        &self,
        store: &str,
        credential: String,
        identity: &str,
        metrics: StoreMetrics,
    ) -> Option<Rc<Entry>> {
        let (backend, seal, time_out) = self.by_name.get(store)?;
        let (backend, seal) = (Rc::clone(backend), seal.clone());
        let entry = Entry::new(backend, seal, *time_out, credential, identity, metrics);
        Some(Rc::new(entry))
    }
}

/// Where access rules allow entries.
const PROBE: &str = "gatepass:doctor";

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.by_name.keys()).finish()
    }
}
