//! Looking up an upstream's name: anew whenever connections are made, once at a time.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use super::Origin;
use super::connect_error::ConnectError;
use crate::runtime::spawn;

/// The name of one upstream.
///
/// A look-up blocks a thread and cannot be called off. If every connection had its own, callers
/// who gave up during an outage of the DNS would leave thousands of them in the queue; so whoever
/// comes while one is under way waits for that.
///
/// The system's resolver waits some 5 s before it asks again or asks another server, so one packet
/// that is lost, or the first server that is down, would cost each caller all the time there is. So
/// what a name had last is remembered.
pub(super) struct Resolver {
    host: String,
    port: u16,
    patience: Duration,
    latest: RefCell<Option<LookUp>>,
    last_good: RefCell<Option<Known>>,
    warned_at: Cell<Option<Instant>>,
}

#[derive(Clone)]
struct LookUp {
    began: Instant,
    outcome: watch::Receiver<Option<Outcome>>,
}

/// What came of a look-up, and when.
#[derive(Clone)]
struct Outcome {
    found: Result<Rc<[SocketAddr]>, Failure>,
    at: Instant,
}

#[derive(Clone)]
struct Failure {
    error: String,
    /// Whether it says nothing of the name itself.
    may_be_passing: bool,
}

#[derive(Clone)]
struct Known {
    addresses: Rc<[SocketAddr]>,
    since: Instant,
}

/// Where a name leads.
pub(super) struct Addresses {
    pub(super) list: Rc<[SocketAddr]>,
    /// Why they are not those that it has now, if they may be others.
    outdated: Option<String>,
}

impl Resolver {
    /// `limit` is how long a connection may take in all.
    pub(super) fn new(origin: &Origin, limit: Duration) -> Self {
        Self {
            host: origin.host.clone(),
            port: origin.port,
            patience: PATIENCE.min(limit / 4),
            latest: RefCell::default(),
            last_good: RefCell::default(),
            warned_at: Cell::default(),
        }
    }

    /// The addresses that the name has now; those that it had, if that cannot be said or not soon.
    ///
    /// A name that is said to have none has none: somebody else may have its last ones by now.
    pub(super) async fn addresses(&self) -> Result<Addresses, ConnectError> {
        let mut look_up = self.join_or_start();
        let began = look_up.began;
        let Some(known) = self.known() else {
            return look_up.found().await.map_err(Failure::into_error);
        };
        let why = match timeout_at(began + self.patience, look_up.found()).await {
            Ok(Ok(addresses)) => return Ok(addresses),
            Ok(Err(failure)) if !failure.may_be_passing => return Err(failure.into_error()),
            Ok(Err(failure)) => format!("its name cannot be resolved now: {}", failure.error),
            Err(_) => "the DNS is slow to say which it has now".to_owned(),
        };
        Ok(self.outdated(known, &why))
    }

    fn outdated(&self, known: Known, why: &str) -> Addresses {
        let now = Instant::now();
        let age = (now - known.since).as_secs();
        let is_told = |at| now < at + REMEMBERED;
        if !self.warned_at.get().is_some_and(is_told) {
            self.warned_at.set(Some(now));
            warn!(
                host = self.host,
                age_seconds = age,
                why,
                "connections go to the last addresses of an upstream: the DNS does not say which it has now"
            );
        }
        Addresses {
            list: known.addresses,
            outdated: Some(format!("addresses of {age}s ago, as {why}")),
        }
    }

    /// Knows what another one of the same name has found last. It is no other name because a reload has
    /// changed something else about its upstream.
    pub(super) fn learn_from(&self, other: &Self) {
        if (&self.host, self.port) != (&other.host, other.port) {
            return;
        }
        if let Some(look_up) = other.latest.borrow().as_ref() {
            other.remember(look_up);
        }
        let own = self.known().map(|known| known.since);
        if let Some(known) = other.known().filter(|known| Some(known.since) > own) {
            self.last_good.replace(Some(known));
        }
    }

    fn known(&self) -> Option<Known> {
        let known = self.last_good.borrow();
        let is_young = |known: &&Known| Instant::now() < known.since + REMEMBERED;
        known.as_ref().filter(is_young).cloned()
    }

    fn join_or_start(&self) -> LookUp {
        let mut latest = self.latest.borrow_mut();
        if let Some(look_up) = latest.as_ref() {
            if look_up.is_under_way() || self.serves(look_up) {
                return look_up.clone();
            }
            self.remember(look_up);
        }
        let (send, outcome) = watch::channel(None);
        let (host, port) = (self.host.clone(), self.port);
        // A task of its own, so that it goes on when the caller for whom it began gives up.
        spawn(async move {
            let found = look_up(&host, port).await;
            let at = Instant::now();
            send.send_replace(Some(Outcome { found, at }));
        });
        let look_up = LookUp {
            began: Instant::now(),
            outcome,
        };
        latest.insert(look_up).clone()
    }

    /// Whether what a look-up found is for those who come after it as well. One that took long has
    /// outlived the patience of those who began it, and the next would take as long.
    fn serves(&self, look_up: &LookUp) -> bool {
        look_up.outcome.borrow().as_ref().is_some_and(|outcome| {
            outcome.found.is_ok()
                && outcome.at >= look_up.began + self.patience
                && Instant::now() < outcome.at + FRESH
        })
    }

    /// Keeps what a look-up found; a name that is said to have no address has none of before either.
    fn remember(&self, look_up: &LookUp) {
        let Some(Outcome { found, at }) = look_up.outcome.borrow().clone() else {
            return;
        };
        match found {
            Ok(addresses) => {
                let since = at;
                self.last_good.replace(Some(Known { addresses, since }));
            }
            Err(failure) if !failure.may_be_passing => {
                self.last_good.take();
            }
            Err(_) => {}
        }
    }
}

impl LookUp {
    /// Whether it has found nothing so far, and its task is still there to find it.
    fn is_under_way(&self) -> bool {
        self.outcome.borrow().is_none() && self.outcome.has_changed().is_ok()
    }

    async fn found(&mut self) -> Result<Addresses, Failure> {
        let outcome = self.outcome.wait_for(Option::is_some).await;
        let outcome = outcome.ok().and_then(|outcome| outcome.clone());
        let no_result = || Failure::passing("the look-up ended without a result".into());
        let list = outcome.ok_or_else(no_result)?.found?;
        Ok(Addresses {
            list,
            outdated: None,
        })
    }
}

impl Failure {
    fn passing(error: String) -> Self {
        Self {
            error,
            may_be_passing: true,
        }
    }

    fn into_error(self) -> ConnectError {
        ConnectError::Name(self.error)
    }
}

impl Addresses {
    /// All of them, for people.
    pub(super) fn all(&self) -> String {
        let shown: Vec<_> = self
            .list
            .iter()
            .take(SHOWN)
            .map(SocketAddr::to_string)
            .collect();
        let shown = shown.join(", ");
        self.told(&match self.list.len().saturating_sub(SHOWN) {
            0 => shown,
            others => format!("{shown} and {others} others"),
        })
    }

    /// What one of them failed with, or several, with all that may explain it.
    pub(super) fn told(&self, failure: &str) -> String {
        match &self.outdated {
            Some(why) => format!("{failure}; {why}"),
            None => failure.to_owned(),
        }
    }
}

async fn look_up(host: &str, port: u16) -> Result<Rc<[SocketAddr]>, Failure> {
    let found = lookup_host((host, port)).await;
    let addresses: Rc<[SocketAddr]> = found
        .map_err(|error| failure(&error.to_string()))?
        .collect();
    if addresses.is_empty() {
        return Err(failure("it has no address"));
    }
    Ok(addresses)
}

/// The system's resolver says in words alone whether the name does not exist (EAI_NONAME) or nobody
/// could be asked (EAI_AGAIN).
fn failure(error: &str) -> Failure {
    Failure {
        may_be_passing: PASSING.iter().any(|words| error.contains(words)),
        error: error.to_owned(),
    }
}

/// EAI_AGAIN in the words of glibc and of musl.
const PASSING: [&str; 2] = ["Temporary failure in name resolution", "Try again"];

/// How long a look-up may take before connections go to the addresses that are known.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long the result of a slow look-up is as good as new.
const FRESH: Duration = Duration::from_secs(10);

/// How long addresses may serve after they were found: as long as a connection that was made then, by
/// the default of `timeouts.connection_age`.
const REMEMBERED: Duration = Duration::from_secs(600);

/// How many addresses a message names.
const SHOWN: usize = 4;

#[cfg(test)]
impl Resolver {
    /// One that has just been told these.
    pub(super) fn leading_to(addresses: &[SocketAddr]) -> Self {
        let tls = crate::tls::client_config(&crate::tls::Trust::Nobody, None).unwrap();
        let origin = Origin::new(&"http://upstream.test".parse().unwrap(), &tls, None).unwrap();
        let resolver = Self::new(&origin, Duration::ZERO);
        let at = Instant::now();
        let found = Ok(Rc::from(addresses));
        let (_, outcome) = watch::channel(Some(Outcome { found, at }));
        resolver.latest.replace(Some(LookUp { began: at, outcome }));
        resolver
    }
}

#[cfg(test)]
mod tests;
