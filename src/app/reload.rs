//! Taking up a changed configuration while requests go on.
//!
//! The new state is built and checked whole beside the one that runs; then one swap publishes it. A
//! request that is under way ends by the routes that it began with. Until then a mistake, or a
//! provider that hands out no token for the new state, costs nothing: what runs stays.

mod standing;
mod state;
mod succession;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_blocking};
use tracing::{error, info, warn};

use super::BuildError;
use super::keeper::{Common, Ending, Keeper};
use super::listeners::Opened;
use crate::config::{self, Layers, Problems, Revision, Settings};
use crate::proxy::Routing;
use crate::readiness::Readiness;
use crate::runtime::spawn;
use crate::systemd;
use crate::token::Credentials;
use crate::watch::{Files, WatchedFiles};
pub(super) use standing::{ReloadMetrics, Standing};
use state::{Keepers, Next, readers};
pub(super) use state::{Parts, Times};

/// What a running gatepass is made of, as far as a reload replaces it.
pub(super) struct Reloader {
    layers: Layers,
    /// As they were when they were read last.
    files: RefCell<Files>,
    parts: Parts,
    /// The routes, for the workers.
    published: Arc<ArcSwap<Routing>>,
    credentials: Credentials,
    opened: Opened,
    running: RefCell<Running>,
    /// Keepers of the next state, until it runs. Not a part of the task that waits for their tokens: a
    /// stop cuts that off, and an attempt that must finish goes on.
    coming: RefCell<Keepers>,
    times: Cell<Times>,
    /// What people see of the configuration.
    shown: Rc<RefCell<String>>,
    ordered: Notify,
    /// The service manager awaits the end of a reload.
    awaited: Cell<bool>,
    standing: Standing,
}

/// What came of reading the configuration, and the files as they were then.
type Written = (Result<Settings, Problems>, Files);

struct Running {
    revision: Revision,
    keepers: Keepers,
    /// As it was at the start, whatever stands in the file by now.
    fixed: BTreeMap<String, Revision>,
}

impl Reloader {
    /// Puts together what is at work from the start. `readiness` waits for the first attempt to get
    /// each token.
    pub(super) fn new(
        settings: Settings,
        layers: Layers,
        parts: Parts,
        opened: Opened,
        readiness: &Readiness,
        standing: Standing,
    ) -> Result<Self, BuildError> {
        let fixed = settings.fixed.clone();
        let shown = settings.annotated.clone();
        let files = settings.files.clone();
        let (first, keepers) = parts.build(settings, &Keepers::new(), readiness)?;
        let new = keepers.values();
        new.for_each(|keeper| keeper.show(&parts.keepers));
        let credentials = Credentials::default();
        credentials.replace(readers(&keepers));
        Ok(Self {
            layers,
            files: RefCell::new(files),
            parts,
            published: Arc::new(ArcSwap::from_pointee(first.routing)),
            credentials,
            opened,
            running: RefCell::new(Running {
                revision: first.revision,
                keepers,
                fixed,
            }),
            coming: RefCell::default(),
            times: Cell::new(first.times),
            shown: Rc::new(RefCell::new(shown)),
            ordered: Notify::new(),
            awaited: Cell::new(false),
            standing,
        })
    }

    /// The routes, for the workers.
    pub(super) fn published(&self) -> Arc<ArcSwap<Routing>> {
        Arc::clone(&self.published)
    }

    /// What all keepers are made with.
    pub(super) fn keepers(&self) -> &Common {
        &self.parts.keepers
    }

    /// The credentials at work.
    pub(super) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// What people see of the configuration at work.
    pub(super) fn shown(&self) -> Rc<RefCell<String>> {
        Rc::clone(&self.shown)
    }

    /// How long stopping may take.
    pub(super) fn times(&self) -> Times {
        self.times.get()
    }

    /// Begins to ask for tokens. Must be called on the control plane's runtime.
    pub(super) fn start(&self) {
        let mut running = self.running.borrow_mut();
        running.keepers.values_mut().for_each(Keeper::start);
    }

    /// Reads the configuration again, soon.
    pub(super) fn order(&self) {
        self.ordered.notify_one();
    }

    /// Takes up what is written whenever it changes or somebody orders it. For ever.
    pub(super) async fn run(self: Rc<Self>) {
        // Of a run that was cut off by a panic.
        self.retire(self.coming.take());
        let mut has_reason = self.has_given_up();
        loop {
            if !has_reason {
                let watched = WatchedFiles::seen(self.files.borrow().clone());
                self.asked(&watched).await;
            }
            has_reason = false;
            let mut read = Some(self.load().await);
            while let Some(written) = read {
                read = self.take_up(written).await;
            }
        }
    }

    /// Takes up what was read. Returns what was read meanwhile, if that is something else.
    async fn take_up(&self, (loaded, files): Written) -> Option<Written> {
        let watched = WatchedFiles::seen(files.clone());
        let next = self.judge(loaded).unwrap_or_else(|mistake| {
            self.refuse(&mistake);
            None
        });
        self.has_read(files);
        let Some((next, keepers)) = next else {
            self.resume().await;
            return None;
        };
        self.coming.replace(keepers);
        let superseded = self.wait_for_tokens(&next, watched).await;
        let keepers = self.coming.take();
        match superseded {
            Some(_) => self.retire(keepers),
            None => self.swap(next, keepers),
        }
        superseded
    }

    /// Waits until the next state can take over, or is not what is written any more; then what was read.
    ///
    /// A SIGHUP that finds the same again disturbs nobody: keepers that began anew with each would ask a
    /// provider that wants patience, and lose the tokens that have come.
    async fn wait_for_tokens(&self, next: &Next, mut watched: WatchedFiles) -> Option<Written> {
        let mut tokens = pin!(self.tokens(next));
        loop {
            tokio::select! {
                () = &mut tokens => return None,
                () = self.asked(&watched) => {}
            }
            let (loaded, files) = self.load().await;
            match &loaded {
                Ok(settings) if settings.revision == next.revision => {}
                _ => return Some((loaded, files)),
            }
            info!("what is written goes on waiting for its first token");
            watched = WatchedFiles::seen(files.clone());
            self.has_read(files);
        }
    }

    /// Not before what was read has been judged: whoever starts this task again after a panic is to find
    /// a change.
    fn has_read(&self, files: Files) {
        self.files.replace(files);
        if self.awaited.take() {
            systemd::ready();
        }
    }

    /// Waits for a reason to read the configuration again.
    async fn asked(&self, watched: &WatchedFiles) {
        tokio::select! {
            () = self.ordered.notified() => {
                info!("SIGHUP: the configuration is read again");
                systemd::reloading();
                self.awaited.set(true);
            }
            () = watched.change() => {
                watched.calm().await;
                info!("a file of the configuration has changed: it is read again");
            }
        }
    }

    /// Off this thread, because disks can hang.
    async fn load(&self) -> Written {
        let layers = self.layers.clone();
        match spawn_blocking(move || config::load_again(&layers)).await {
            Ok(loaded) => loaded,
            // The supervisor starts this task again.
            Err(error) => std::panic::resume_unwind(Box::new(error.to_string())),
        }
    }

    /// Makes the next state of what was read, if it is something else than what runs; or says what is
    /// wrong with it.
    fn judge(&self, loaded: Result<Settings, Problems>) -> Result<Option<(Next, Keepers)>, String> {
        let settings = loaded.map_err(|problems| problems.in_one_line())?;
        if let Some(why) = self.opened.why_exposed(settings.proxy.guard) {
            return Err(why);
        }
        let running = self.running.borrow();
        if settings.revision == running.revision {
            match self.standing.unchanged() {
                true => info!("the configuration is good again, and is what runs"),
                false => info!("what runs stays as it is"),
            }
            // Its lines may have moved.
            self.shown.replace(settings.annotated);
            return Ok(None);
        }
        for warning in &settings.warnings {
            warn!("{warning}");
        }
        let built = self
            .parts
            .build(settings, &running.keepers, &Readiness::default());
        built.map(Some).map_err(|error| error.to_string())
    }

    fn refuse(&self, mistake: &str) {
        error!("the changed configuration is not taken up, and what runs stays: {mistake}");
        self.standing.refused(mistake);
    }

    /// Publishes the next state, whose new keepers take the places of those that go.
    fn swap(&self, next: Next, keepers: Keepers) {
        let (names, routing) = (next.names, next.routing);
        let mut running = self.running.borrow_mut();
        let goes = |name: &String, _: &mut _| !names.contains(name) || keepers.contains_key(name);
        let retired: Keepers = running.keepers.extract_if(.., goes).collect();
        for gone in retired.keys().filter(|name| !names.contains(*name)) {
            self.parts.keepers.forget(gone);
        }
        info!(
            routes = routing.table.routes().count(),
            credentials_kept = running.keepers.len(),
            credentials_new = keepers.len(),
            credentials_gone = retired.len(),
            "the changed configuration is at work"
        );
        let new = keepers.values();
        new.for_each(|keeper| keeper.show(&self.parts.keepers));
        running.keepers.extend(keepers);
        running.revision = next.revision;
        self.credentials.replace(readers(&running.keepers));
        self.parts.proxy_metrics.keep(&routing.table);
        self.published.store(Arc::new(routing));
        if let (Some(shown), Some(tls)) = (&self.opened.tls, next.tls) {
            shown.store(tls);
        }
        self.times.set(next.times);
        self.shown.replace(next.shown);
        let restart = differing(&running.fixed, &next.fixed);
        if !restart.is_empty() {
            warn!(
                keys = restart.join(", "),
                "these keys take effect with a restart, and what runs goes by what they were"
            );
        }
        self.standing.taken_up(restart);
        self.retire(retired);
    }

    /// Ends the work of keepers that nobody needs any more, each when it may.
    fn retire(&self, keepers: Keepers) {
        for keeper in keepers.into_values() {
            self.end(keeper.retire());
        }
    }

    fn end(&self, ending: Ending) -> JoinHandle<()> {
        let at_work = Rc::clone(&self.parts.keepers.at_work);
        spawn(async move { ending.end(&at_work).await })
    }
}

/// The keys that are not the same on both sides.
fn differing(one: &BTreeMap<String, Revision>, other: &BTreeMap<String, Revision>) -> Vec<String> {
    let keys: BTreeSet<_> = one.keys().chain(other.keys()).collect();
    let differing = keys
        .into_iter()
        .filter(|key| one.get(*key) != other.get(*key));
    differing.cloned().collect()
}
