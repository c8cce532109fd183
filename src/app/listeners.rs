//! The addresses that are listened on.

use std::io;
use std::sync::Arc;

use tracing::warn;

use super::BuildError;
use crate::server::{self, Activated, Address, Listener, ServerTls, UnixAccess};
use crate::{config, runtime};

/// The listener of operators, and the settings with the address that it has.
pub(super) fn bind_admin(
    settings: &config::Admin,
    activated: &mut Activated,
) -> Result<(config::Admin, Listener), BuildError> {
    let wanted = settings.listen.clone();
    let mut bound = bind("admin", wanted.clone(), UnixAccess::default(), activated)?;
    let several = || io::Error::other("several sockets were handed over, and one is needed");
    let (Some((listen, listener)), true) = (bound.pop(), bound.is_empty()) else {
        return Err(BuildError::listen("admin", wanted, several()));
    };
    let settings = settings.clone();
    Ok((config::Admin { listen, ..settings }, listener))
}

/// The listeners of callers, each with its address. All that speak TLS show the same certificate.
pub(super) fn bind_proxy(
    settings: &config::Proxy,
    tls: Option<&ServerTls>,
    activated: &mut Activated,
) -> Result<Vec<(Address, Listener)>, BuildError> {
    let mut all = Vec::new();
    for listen in &settings.listen {
        let bound = bind("proxy", listen.address.clone(), settings.unix, activated)?;
        for (address, listener) in bound {
            // Where systemd has bound its sockets was not to be known before.
            if settings.guard.leaves_open(&address, listen.tls.is_some()) {
                return Err(BuildError::Exposed(address));
            }
            let listener = match tls.filter(|_| listen.tls.is_some()) {
                Some(tls) => listener.with_tls(Arc::clone(tls)),
                None => listener,
            };
            all.push((address, listener));
        }
    }
    Ok(all)
}

/// The addresses side by side, each as it would be written.
pub(super) fn listed(listeners: &[(Address, Listener)]) -> String {
    let each = |(address, listener): &(Address, Listener)| written(address, listener.speaks_tls());
    let all: Vec<_> = listeners.iter().map(each).collect();
    all.join(", ")
}

fn written(address: &Address, is_tls: bool) -> String {
    match is_tls {
        true => format!("tls:{address}"),
        false => address.to_string(),
    }
}

/// What callers come in by, from the start to the end.
pub(super) struct Opened {
    /// The addresses, each with whether TLS is spoken there.
    addresses: Vec<(Address, bool)>,
    /// How TLS is spoken with callers.
    pub(super) tls: Option<ServerTls>,
}

impl Opened {
    pub(super) fn new(listeners: &[(Address, Listener)], tls: Option<ServerTls>) -> Self {
        let each =
            |(address, listener): &(Address, Listener)| (address.clone(), listener.speaks_tls());
        Self {
            addresses: listeners.iter().map(each).collect(),
            tls,
        }
    }

    /// Why strangers would act with the credentials by a guard that is good for other listeners.
    pub(super) fn why_exposed(&self, guard: config::Guard) -> Option<String> {
        let mut addresses = self.addresses.iter();
        let (address, is_tls) =
            addresses.find(|(address, is_tls)| guard.leaves_open(address, *is_tls))?;
        Some(format!(
            "{} stays open to other machines until a restart, and whoever reaches it would act with the \
             credentials; restart gatepass, or leave what guards it (proxy.callers.key_file, \
             proxy.tls.client_ca_file or proxy.trust_network)",
            written(address, *is_tls)
        ))
    }
}

fn bind(
    listener: &'static str,
    wanted: Address,
    access: UnixAccess,
    activated: &mut Activated,
) -> Result<Vec<(Address, Listener)>, BuildError> {
    let bound = Listener::bind(&wanted, access, activated).and_then(|bound| {
        let with_address = |bound: Listener| Ok((bound.address()?, bound));
        bound.into_iter().map(with_address).collect()
    });
    bound.map_err(|error| BuildError::listen(listener, wanted, error))
}

/// How many callers' connections there is room for, and how many to upstreams. A busy caller costs two
/// descriptors, its own and the upstream's. Without this, too many callers would leave none for token
/// requests and probes.
///
/// What nobody has counted is as much as there is room for; less than a sidecar may need is told all the
/// same.
pub(super) fn within_descriptors(proxy: &config::Proxy) -> (server::Settings, usize) {
    let limit = runtime::raise_descriptor_limit();
    let affordable = (limit.saturating_sub(RESERVED_DESCRIPTORS) / 2).max(1);
    let wanted = proxy.connections.max_connections;
    let is_missed = proxy.counts_connections || affordable < FEW_CONNECTIONS;
    if affordable < wanted && is_missed {
        let needed = wanted
            .saturating_mul(2)
            .saturating_add(RESERVED_DESCRIPTORS);
        warn!(
            "{wanted} callers' connections (proxy.limits.connections) need {needed} open files, and the \
             limit is {limit}: {affordable} are served at once, and more wait; raise the limit to {needed} \
             (ulimit -n, LimitNOFILE), or set proxy.limits.connections to {affordable}"
        );
    }
    let max_connections = wanted.min(affordable);
    let taken = max_connections.saturating_add(RESERVED_DESCRIPTORS);
    let connections = server::Settings {
        max_connections,
        ..proxy.connections
    };
    (connections, limit.saturating_sub(taken).max(1))
}

/// Fewer than this are soon taken.
const FEW_CONNECTIONS: usize = 1_000;

/// For token requests, probes, scrapes, look-ups and what the runtimes need.
const RESERVED_DESCRIPTORS: usize = 200;
