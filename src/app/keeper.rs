//! A credential at work: its refresher, and where routes find its token.

use std::rc::Rc;

use tokio::sync::RwLock;
use tokio_util::task::AbortOnDropHandle;

use super::BuildError;
use crate::oauth;
use crate::readiness::{Readiness, StartupGuard};
use crate::runtime::spawn;
use crate::store::{StoreMetrics, Stores};
use crate::token::metrics::{CredentialMetrics, TokenMetrics};
use crate::token::refresher::Refresher;
use crate::token::{TokenReader, TokenWriter, cell};

/// Keeps one credential's token fresh while it is there.
pub(super) struct Keeper {
    settings: oauth::Settings,
    reader: TokenReader,
    facts: Facts,
    work: Work,
}

/// What it has to show: while it is a candidate for the place of one that is at work, to nobody.
struct Facts {
    of_token: CredentialMetrics,
    of_sharing: Option<StoreMetrics>,
}

/// What refreshers have in common.
pub(super) struct Common {
    pub(super) stores: Stores,
    pub(super) metrics: TokenMetrics,
    /// Held for reading by refreshers during attempts that must finish.
    pub(super) at_work: Rc<RwLock<()>>,
}

enum Work {
    NotBegun(Box<Refresher>),
    UnderWay {
        task: AbortOnDropHandle<()>,
        must_finish: bool,
    },
    Over,
}

impl Keeper {
    /// Nothing is asked for yet. `first_attempt` is dropped after the first attempt to get a token.
    pub(super) fn new(
        settings: oauth::Settings,
        common: &Common,
        first_attempt: StartupGuard,
    ) -> Result<Self, BuildError> {
        let name = &settings.credential;
        let refusals = common.metrics.refusals(name);
        let (writer, reader) = cell::channel(name, settings.refusals, refusals);
        let (refresher, facts) = refresher(&settings, common, writer, first_attempt)?;
        Ok(Self {
            settings,
            reader,
            facts,
            work: Work::NotBegun(Box::new(refresher)),
        })
    }

    /// Has operators see how it fares: it is the one at work under its name.
    pub(super) fn show(&self, common: &Common) {
        let name = &self.settings.credential;
        common.metrics.show(name, &self.facts.of_token);
        common.stores.show(name, self.facts.of_sharing.as_ref());
    }

    /// Goes on with the token at hand where it has given up, as if it were the first time: what it knew
    /// of a session may be used up by now.
    pub(super) fn resume(&mut self, common: &Common) -> Result<(), BuildError> {
        if self.has_given_up() {
            let name = &self.settings.credential;
            let first_attempt = Readiness::default().startup(name);
            let writer = TokenWriter::of(&self.reader);
            let (refresher, facts) = refresher(&self.settings, common, writer, first_attempt)?;
            self.work = Work::NotBegun(Box::new(refresher));
            std::mem::replace(&mut self.facts, facts).hide();
            self.show(common);
            self.start();
        }
        Ok(())
    }

    pub(super) fn has_given_up(&self) -> bool {
        matches!(self.work, Work::Over)
    }

    /// Where routes find the token.
    pub(super) fn reader(&self) -> &TokenReader {
        &self.reader
    }

    /// Whether it does already what these settings want.
    pub(super) fn serves(&self, settings: &oauth::Settings) -> bool {
        self.settings.revision == settings.revision && !self.has_given_up()
    }

    /// Begins to ask for tokens. Must be called on the control plane's runtime.
    pub(super) fn start(&mut self) {
        self.work = match std::mem::replace(&mut self.work, Work::Over) {
            Work::NotBegun(refresher) => Work::UnderWay {
                must_finish: refresher.must_finish(),
                task: AbortOnDropHandle::new(spawn(refresher.run_supervised())),
            },
            work => work,
        };
    }

    /// Whether another that begins meanwhile would get in its way: a refresh token that both use
    /// ends the session.
    pub(super) fn is_alone(&self) -> bool {
        matches!(&self.work, Work::UnderWay { must_finish, .. } if *must_finish)
    }

    /// Hands the work out to be ended. The token stays where it is, to its end.
    pub(super) fn give_up(&mut self) -> Ending {
        Ending(std::mem::replace(&mut self.work, Work::Over))
    }

    /// The same for good. Requests that wait for a token of this one learn that there will be none.
    pub(super) fn retire(mut self) -> Ending {
        self.reader.retire();
        self.facts.hide();
        self.give_up()
    }
}

impl Facts {
    fn hide(&self) {
        self.of_token.hide();
        if let Some(of_sharing) = &self.of_sharing {
            of_sharing.hide();
        }
    }
}

impl Common {
    /// Takes away what would go on to speak of a credential that is gone.
    pub(super) fn forget(&self, credential: &str) {
        self.metrics.forget(credential);
        self.stores.show(credential, None);
    }
}

fn refresher(
    settings: &oauth::Settings,
    common: &Common,
    writer: TokenWriter,
    first_attempt: StartupGuard,
) -> Result<(Refresher, Facts), BuildError> {
    let (source, of_sharing) = oauth::source(settings.clone(), &common.stores)?;
    let of_token = common.metrics.for_credential(&settings.credential);
    let refresher = Refresher::new(
        source,
        writer,
        of_token.clone(),
        fastrand::Rng::new(),
        first_attempt,
        Rc::clone(&common.at_work),
        settings.spread,
    );
    let facts = Facts {
        of_token,
        of_sharing,
    };
    Ok((refresher, facts))
}

/// Work that is to end.
pub(super) struct Ending(Work);

impl Ending {
    /// Ends it, not in the middle of an attempt that must finish.
    pub(super) async fn end(self, at_work: &RwLock<()>) {
        if let Work::UnderWay { task, must_finish } = self.0 {
            let _nothing_under_way = match must_finish {
                true => Some(at_work.write().await),
                false => None,
            };
            drop(task);
        }
    }
}
