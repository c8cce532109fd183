//! What a configuration is made into: routes and keepers of tokens, complete beside those that run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;

use crate::app::BuildError;
use crate::app::keeper::{Common, Keeper};
use crate::config::{Revision, Settings};
use crate::proxy::metrics::ProxyMetrics;
use crate::proxy::{self, Route, RouteTable, Routing};
use crate::readiness::Readiness;
use crate::token::TokenReader;

/// What every state is made with.
pub(in crate::app) struct Parts {
    /// The stores are those of the start.
    pub(in crate::app) keepers: Common,
    pub(in crate::app) proxy_metrics: ProxyMetrics,
}

/// How long stopping may take.
#[derive(Debug, Clone, Copy)]
pub(in crate::app) struct Times {
    pub(in crate::app) delay: Duration,
    pub(in crate::app) grace: Duration,
}

/// Keepers of tokens, by the names of their credentials.
pub(super) type Keepers = BTreeMap<String, Keeper>;

/// A state that is complete but for its tokens.
pub(super) struct Next {
    pub(super) revision: Revision,
    pub(super) routing: Routing,
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// The names of all its credentials, those that go on as they are among them.
    pub(super) names: BTreeSet<String>,
    pub(super) first_attempts: Readiness,
    pub(super) times: Times,
    pub(super) shown: String,
    pub(super) fixed: BTreeMap<String, Revision>,
}

impl Parts {
    /// Makes a state, and the keepers that it needs beside those of `running`: credentials that they serve
    /// go on as they are. `first_attempts` has started when the first attempt of each other is over.
    pub(super) fn build(
        &self,
        settings: Settings,
        running: &Keepers,
        first_attempts: &Readiness,
    ) -> Result<(Next, Keepers), BuildError> {
        let mut keepers = Keepers::new();
        let mut readers = BTreeMap::new();
        for credential in settings.credentials {
            let name = credential.credential.clone();
            match running
                .get(&name)
                .filter(|keeper| keeper.serves(&credential))
            {
                Some(keeper) => drop(readers.insert(name, keeper.reader().clone())),
                None => {
                    let part = format!("credential \"{name}\": first attempt to get a token");
                    let first_attempt = first_attempts.startup(&part);
                    let stores = &self.keepers.stores;
                    if let Some(store) = credential.store.as_ref().filter(|of| !stores.has(of)) {
                        return Err(BuildError::Store {
                            credential: name,
                            store: store.clone(),
                        });
                    }
                    let keeper = Keeper::new(credential, &self.keepers, first_attempt)?;
                    readers.insert(name.clone(), keeper.reader().clone());
                    keepers.insert(name, keeper);
                }
            }
        }
        let tls = settings.proxy.tls();
        let routes = settings.routes.into_iter();
        let routes = routes.map(|route| self.route(route, &readers));
        let next = Next {
            revision: settings.revision,
            routing: Routing {
                table: RouteTable::new(routes.collect::<Result<_, _>>()?),
                admission: settings.proxy.admission,
                access_log: settings.access_log,
            },
            tls,
            names: readers.into_keys().collect(),
            first_attempts: first_attempts.clone(),
            times: Times {
                delay: settings.delay,
                grace: settings.grace,
            },
            shown: settings.annotated,
            fixed: settings.fixed,
        };
        Ok((next, keepers))
    }

    fn route(
        &self,
        route: proxy::Settings,
        readers: &BTreeMap<String, TokenReader>,
    ) -> Result<Route, BuildError> {
        let token = match &route.credential {
            None => None,
            Some(name) => Some(readers.get(name).cloned().ok_or(BuildError::Credential {
                route: route.name.to_string(),
                credential: name.clone(),
            })?),
        };
        let metrics = self.proxy_metrics.for_route(&route.name);
        Ok(Route::new(route, token, metrics))
    }
}

/// Where routes find the tokens.
pub(super) fn readers(keepers: &Keepers) -> Vec<TokenReader> {
    let readers = keepers.values().map(Keeper::reader);
    readers.cloned().collect()
}
