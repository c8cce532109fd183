//! A credential at work: its refresher, and where routes find its token.

use std::rc::Rc;

use tokio::sync::RwLock;
use tokio_util::task::AbortOnDropHandle;

use super::BuildError;
use crate::config::Revision;
use crate::oauth;
use crate::readiness::StartupGuard;
use crate::store::Stores;
use crate::token::metrics::TokenMetrics;
use crate::token::refresher::Refresher;
use crate::token::{TokenReader, cell};

/// Keeps one credential's token fresh while it is there.
pub(super) struct Keeper {
    revision: Revision,
    reader: TokenReader,
    work: Work,
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
        stores: &Stores,
        metrics: &TokenMetrics,
        first_attempt: StartupGuard,
        at_work: Rc<RwLock<()>>,
    ) -> Result<Self, BuildError> {
        let (revision, name) = (settings.revision, settings.credential.clone());
        let spread = settings.spread;
        let (writer, reader) = cell::channel(&name, settings.refusals, metrics.refusals(&name));
        let refresher = Refresher::new(
            oauth::source(settings, stores)?,
            writer,
            metrics.for_credential(&name),
            fastrand::Rng::new(),
            first_attempt,
            at_work,
            spread,
        );
        Ok(Self {
            revision,
            reader,
            work: Work::NotBegun(Box::new(refresher)),
        })
    }

    /// Where routes find the token.
    pub(super) fn reader(&self) -> &TokenReader {
        &self.reader
    }

    /// Whether it does already what these settings want.
    pub(super) fn serves(&self, settings: &oauth::Settings) -> bool {
        self.revision == settings.revision && !matches!(self.work, Work::Over)
    }

    /// Begins to ask for tokens. Must be called on the control plane's runtime.
    pub(super) fn start(&mut self) {
        self.work = match std::mem::replace(&mut self.work, Work::Over) {
            Work::NotBegun(refresher) => Work::UnderWay {
                must_finish: refresher.must_finish(),
                task: AbortOnDropHandle::new(tokio::task::spawn_local(refresher.run_supervised())),
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
