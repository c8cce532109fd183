//! Where the control plane leaves a token and the data plane finds it.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::time::Instant;
use tracing::warn;

use super::demand::{Demand, Refusal, RefusalMetrics, RefusalSettings, RefusedBy, Wish};
use super::history::{Attempt, History};
use super::source::FailureKind;
use super::unmended::Unmended;
use super::{AccessToken, Setback, TokenState};

/// Makes a credential's cell, with no token in it.
pub fn channel(
    credential: &str,
    refusals: RefusalSettings,
    metrics: RefusalMetrics,
) -> (TokenWriter, TokenReader) {
    let reader = TokenReader(Arc::new(Cell {
        credential: credential.into(),
        state: ArcSwap::from_pointee(TokenState::Pending(None)),
        demand: Demand::new(refusals, metrics),
        history: History::default(),
        unmended: Unmended::default(),
    }));
    (TokenWriter(reader.clone()), reader)
}

#[derive(Debug)]
struct Cell {
    credential: String,
    state: ArcSwap<TokenState>,
    demand: Demand,
    history: History,
    unmended: Unmended,
}

/// The writing end. There is one, and the credential's refresher has it.
#[derive(Debug)]
pub struct TokenWriter(TokenReader);

impl TokenWriter {
    /// The writing end for a refresher that goes on where another has ended.
    pub fn of(reader: &TokenReader) -> Self {
        Self(reader.clone())
    }

    /// Publishes a new token: requests that are sent from now on carry it.
    pub fn store(&self, token: AccessToken) {
        let generation = token.generation();
        self.put(TokenState::Valid(token, None));
        self.cell().demand.attempted(generation, false);
    }

    /// Takes the token away because its life is over.
    pub fn expire(&self) {
        let setback = self.current().setback().cloned();
        self.put(TokenState::Expired(setback));
    }

    /// Tells readers of a failure. A token that is still valid stays: a failed refresh takes
    /// nothing from the requests.
    pub fn record_setback(&self, setback: Setback) {
        // Where nobody was asked, nobody has failed: a refusal is still a reason to ask.
        let failed = setback.error.kind != FailureKind::HeldBack;
        let setback = Some(setback);
        let state = match &**self.current() {
            TokenState::Pending(_) => TokenState::Pending(setback),
            TokenState::Valid(token, _) => TokenState::Valid(token.clone(), setback),
            TokenState::Expired(_) => TokenState::Expired(setback),
        };
        self.put(state);
        let generation = self.current().generation();
        self.cell().demand.attempted(generation, failed);
    }

    /// Resolves when there is a reason to look at the token before its time.
    pub async fn demanded(&self) -> Wish {
        let generation = self.current().generation();
        self.cell().demand.arises(generation).await
    }

    /// No attempt to get a token is under way.
    pub fn idle(&self) {
        self.cell().demand.idle();
    }

    /// An attempt to get a token begins.
    pub fn attempting(&self) {
        self.cell().demand.attempting();
    }

    /// Keeps an attempt that is over for those who look.
    pub fn attempted(&self, attempt: Attempt) {
        self.cell().history.add(attempt);
    }

    /// What readers see.
    pub fn current(&self) -> Guard<Arc<TokenState>> {
        self.0.load()
    }

    /// The credential's name.
    pub fn credential(&self) -> &str {
        self.0.credential()
    }

    /// Whether the upstream of this route has refused one token after the other lately.
    pub fn is_refused_by(&self, route: &str) -> bool {
        let routes = self.0.refused_by_routes();
        routes.iter().any(|of| **of == *route)
    }

    fn put(&self, state: TokenState) {
        self.cell().state.store(Arc::new(state));
    }

    fn cell(&self) -> &Cell {
        &self.0.0
    }
}

/// The reading end. Clones read the same cell; reading takes no lock and no clock.
#[derive(Debug, Clone)]
pub struct TokenReader(Arc<Cell>);

impl TokenReader {
    /// The state at this moment.
    pub fn load(&self) -> Guard<Arc<TokenState>> {
        self.0.state.load()
    }

    /// The last attempts to get a token, the last one first.
    pub fn attempts(&self) -> Vec<Attempt> {
        self.0.history.all()
    }

    /// Which answers of an upstream are refusals of the token.
    pub fn refused_by(&self) -> RefusedBy {
        self.0.demand.refused_by()
    }

    /// Tells the refresher that the upstream of a route refused the token of this generation.
    pub fn refuse(&self, generation: u64, route: &Arc<str>) -> Refusal {
        let current = self.load().generation();
        let refusal = self.0.demand.refuse(generation, current, route);
        if matches!(refusal, Refusal::Unmended) {
            self.refused_again(route);
        }
        refusal
    }

    /// The upstream of a route refused the token that came in the place of a refused one as well.
    pub fn refused_again(&self, route: &Arc<str>) {
        if self.0.unmended.note(route) {
            warn!(
                credential = self.credential(),
                route = &**route,
                "the upstream refuses new tokens as well, and callers get its 401: rather a \
                 permission, an audience or a scope is missing; gatepass doctor --call looks"
            );
        }
    }

    /// The routes whose upstreams have refused one token after the other lately.
    pub fn refused_by_routes(&self) -> Vec<Arc<str>> {
        self.0.unmended.routes()
    }

    /// Waits for the first token, until `end`. At once if there has been one.
    pub async fn first_token(&self, end: Instant) {
        self.0.demand.first_token(end).await;
    }

    /// Nobody fetches tokens for this cell any more: who waits for one is let go. Why there was none
    /// is of the past; whoever asks again is served by what has come in its place.
    pub fn retire(&self) {
        self.0.state.rcu(|state| Arc::new(state.without_setback()));
        self.0.demand.retire();
    }

    /// Asks the refresher for a new token now.
    pub fn refresh_now(&self) {
        self.0.demand.force();
    }

    /// Asks for a new token because this one may be over, within the budget of refusals.
    pub fn doubt(&self) {
        self.0.demand.doubt();
    }

    /// Takes the time that the machine was asleep off the token's life; `asleep` is all of it since
    /// the machine was started.
    pub fn count_sleep(&self, asleep: Duration) {
        let older = |state: &Arc<TokenState>| Arc::new(state.counting_sleep(asleep));
        self.0.state.rcu(older);
        self.0.demand.look_again();
    }

    /// The credential's name.
    pub fn credential(&self) -> &str {
        &self.0.credential
    }
}
