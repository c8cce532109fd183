//! A fleet on a virtual clock: gatepass's own refreshers, against a model of a provider.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::pending;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use gatepass::readiness::Readiness;
use gatepass::store::{
    Answer, Backend, Entry, Memory, Reading, Seal, SharedSource, SharingSettings, StoreError,
    StoresMetrics, Swap,
};
use gatepass::token::metrics::TokenMetrics;
use gatepass::token::refresher::Refresher;
use gatepass::token::schedule::Spread;
use gatepass::token::source::{
    FailureKind, FetchError, FetchFuture, FetchedToken, Occasion, TokenSource,
};
use gatepass::token::{RefusalSettings, TokenReader, cell};
use prometheus::Registry;
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

/// What is played.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    pub replicas: usize,
    pub client: Client,
    /// The life of a token.
    pub life: Duration,
    pub lasts: Duration,
    /// From when to when the provider answers nobody.
    pub provider_down: Option<(Duration, Duration)>,
    /// How long it takes to answer, at least and at most.
    pub takes: [Duration; 2],
    /// From when to when the store is no help.
    pub store_down: Option<(Duration, Duration)>,
    /// How long each of its answers takes then; it refuses at once if nothing stands here.
    pub store_takes: Option<Duration>,
    /// When every replica is started anew, all in the same second.
    pub restart: Option<Duration>,
    /// How many requests a minute the provider takes.
    pub per_minute: usize,
    pub seed: u64,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Client {
    /// Asks when its token ends, and every ten seconds until there is another.
    Naive,
    /// gatepass by itself, spreading its refreshes as far as it does by default, or over this part of
    /// the life.
    Alone { spread: Option<f64> },
    /// gatepass with a store.
    Shared,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// How often the provider was asked in each second.
    pub asked: Vec<usize>,
    /// How many of these it refused because there were too many.
    pub throttled: usize,
    /// The time that replicas were without a usable token, all of them together, in minutes.
    pub minutes_without: f64,
}

impl Outcome {
    /// How often it was asked.
    pub fn total(&self) -> usize {
        self.asked.iter().sum()
    }

    /// The most requests in any second from one on.
    pub fn worst_second(&self, from: Duration) -> usize {
        let seconds = self.asked.iter().zip(0..);
        let later = seconds.filter(|(_, at)| *at >= from.as_secs());
        later.map(|(asked, _)| *asked).max().unwrap_or_default()
    }
}

/// Plays a scenario.
pub fn play(scenario: Scenario) -> Outcome {
    fastrand::seed(scenario.seed);
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build_local(LocalOptions::default())
        .expect("a runtime");
    runtime.block_on(Play::new(scenario).run())
}

struct Play {
    scenario: Scenario,
    provider: Rc<Provider>,
    store: Rc<Store>,
    token_metrics: TokenMetrics,
    store_metrics: StoresMetrics,
}

impl Play {
    fn new(scenario: Scenario) -> Self {
        let began = Instant::now();
        let registry = Registry::new();
        Self {
            scenario,
            provider: Rc::new(Provider {
                began,
                scenario,
                asked: RefCell::default(),
                granted: RefCell::default(),
                throttled: Cell::default(),
            }),
            store: Rc::new(Store {
                began,
                scenario,
                memory: Memory::new(),
            }),
            token_metrics: TokenMetrics::register(&registry).expect("metrics"),
            store_metrics: StoresMetrics::register(&registry).expect("metrics"),
        }
    }

    async fn run(self) -> Outcome {
        let began = Instant::now();
        let step = (self.scenario.life / 50).min(MINUTE);
        let mut steps_without = 0;
        let restart = self.scenario.restart.unwrap_or(self.scenario.lasts);
        for end in [restart, self.scenario.lasts] {
            let fleet: Vec<_> = (0..self.scenario.replicas).map(|_| self.start()).collect();
            let started = Instant::now();
            while began.elapsed() < end {
                sleep_until((Instant::now() + step).min(began + end)).await;
                // A minute for the first token is granted.
                if started.elapsed() > MINUTE {
                    let without = fleet.iter().filter(|(reader, _)| !is_usable(reader));
                    steps_without += without.count();
                }
            }
            for (_, task) in fleet {
                task.abort();
            }
        }
        Outcome {
            asked: self.provider.asked.take(),
            throttled: self.provider.throttled.get(),
            minutes_without: steps_without as f64 * step.as_secs_f64() / 60.0,
        }
    }

    /// A replica: where its token is found, and what keeps it fresh.
    fn start(&self) -> (TokenReader, JoinHandle<()>) {
        let name = "simulated";
        let refusals = self.token_metrics.refusals(name);
        let (writer, reader) = cell::channel(name, RefusalSettings::default(), refusals);
        let provider = Asks(Rc::clone(&self.provider));
        let (source, spread): (Box<dyn TokenSource>, _) = match self.scenario.client {
            Client::Naive => {
                let naive = naive(Rc::clone(&self.provider), writer);
                return (reader, tokio::task::spawn_local(naive));
            }
            Client::Alone { spread } => {
                let spread = spread.map_or_else(Spread::default, Spread::over);
                (Box::new(provider), spread)
            }
            Client::Shared => (Box::new(self.shared(provider)), Spread::default()),
        };
        let refresher = Refresher::new(
            source,
            writer,
            self.token_metrics.for_credential(name),
            fastrand::Rng::new(),
            Readiness::default().startup("first token"),
            Rc::default(),
            spread,
        );
        (reader, tokio::task::spawn_local(refresher.run_supervised()))
    }

    fn shared(&self, provider: Asks) -> SharedSource {
        let name = || "simulated".to_owned();
        let metrics = self.store_metrics.for_credential("simulated", None);
        let store: Rc<dyn Backend> = Rc::<Store>::clone(&self.store);
        let time_out = Duration::from_secs(1);
        let entry = Entry::new(store, Seal::Clear, time_out, name(), "id", metrics.clone());
        let settings = SharingSettings {
            timeout: TIMEOUT,
            per_hour: None,
        };
        let entry = Some(Rc::new(entry));
        SharedSource::new(Box::new(provider), name(), entry, settings, metrics)
    }
}

fn is_usable(reader: &TokenReader) -> bool {
    let state = reader.load();
    let token = state.valid();
    token.is_some_and(|token| token.retire_at() > Instant::now())
}

/// Hands out tokens, to as many as it likes.
struct Provider {
    began: Instant,
    scenario: Scenario,
    asked: RefCell<Vec<usize>>,
    /// When it handed out tokens in the last minute: so many are what it allows.
    granted: RefCell<VecDeque<Duration>>,
    throttled: Cell<usize>,
}

impl Provider {
    async fn answer(&self) -> Result<FetchedToken, FetchError> {
        let now = self.began.elapsed();
        self.note(now);
        if is_within(self.scenario.provider_down, now) {
            sleep(Duration::from_secs(1)).await;
            return Err(FailureKind::Unavailable.because("is down"));
        }
        let [least, most] = self.scenario.takes;
        sleep(least + (most - least).mul_f64(fastrand::f64())).await;
        if !self.grants() {
            self.throttled.set(self.throttled.get() + 1);
            return Err(FetchError {
                retry_after: Some(MINUTE),
                ..FailureKind::Throttled.because("asks for fewer requests")
            });
        }
        Ok(FetchedToken {
            refused_secret: None,
            secret: "token".into(),
            scheme: "Bearer".into(),
            lifetime: self.scenario.life,
            refresh_in: None,
            age: Duration::ZERO,
        })
    }
}

impl Provider {
    fn note(&self, now: Duration) {
        let mut asked = self.asked.borrow_mut();
        let second = usize::try_from(now.as_secs()).expect("a day or so");
        let seconds = asked.len().max(second + 1);
        asked.resize(seconds, 0);
        asked[second] += 1;
    }

    fn grants(&self) -> bool {
        let now = self.began.elapsed();
        let mut granted = self.granted.borrow_mut();
        while granted.front().is_some_and(|at| now - *at >= MINUTE) {
            granted.pop_front();
        }
        let grants = granted.len() < self.scenario.per_minute;
        if grants {
            granted.push_back(now);
        }
        grants
    }
}

fn is_within(span: Option<(Duration, Duration)>, now: Duration) -> bool {
    span.is_some_and(|(from, to)| (from..to).contains(&now))
}

struct Asks(Rc<Provider>);

impl TokenSource for Asks {
    fn fetch(&self, _: Occasion) -> FetchFuture<'_> {
        Box::pin(self.0.answer())
    }
}

async fn naive(provider: Rc<Provider>, writer: gatepass::token::TokenWriter) {
    loop {
        let asked = gatepass::token::Moment::now();
        match provider.answer().await {
            Ok(fetched) => {
                let token = gatepass::token::AccessToken::new(&fetched, asked, 0.0, 1);
                let token = token.expect("a token");
                let end = token.retire_at();
                writer.store(token);
                sleep_until(end).await;
            }
            Err(_) => sleep(Duration::from_secs(10)).await,
        }
    }
}

/// A store that is down for a while.
struct Store {
    began: Instant,
    scenario: Scenario,
    memory: Memory,
}

impl Store {
    fn is_down(&self) -> bool {
        is_within(self.scenario.store_down, self.began.elapsed())
    }

    /// What it does before an answer, or in its place.
    async fn trouble(&self) -> Result<(), StoreError> {
        match self.scenario.store_takes.filter(|_| self.is_down()) {
            Some(takes) => sleep(takes).await,
            None if self.is_down() => return Err(StoreError::Unavailable("is down".into())),
            None => {}
        }
        Ok(())
    }
}

impl Backend for Store {
    fn read<'a>(&'a self, name: &'a str) -> Answer<'a, Reading> {
        Box::pin(async move {
            self.trouble().await?;
            self.memory.read(name).await
        })
    }

    fn swap<'a>(&'a self, name: &'a str, swap: Swap<'a>) -> Answer<'a, bool> {
        Box::pin(async move {
            self.trouble().await?;
            self.memory.swap(name, swap).await
        })
    }

    fn news<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
        match self.is_down() {
            true => Box::pin(pending()),
            false => self.memory.news(name),
        }
    }

    fn brings_news(&self) -> bool {
        !self.is_down()
    }
}

pub const MINUTE: Duration = Duration::from_secs(60);
pub const HOUR: Duration = Duration::from_secs(3600);

/// What a provider takes that is well.
pub const QUICK: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(300)];

/// For one attempt, as gatepass's default is.
const TIMEOUT: Duration = Duration::from_secs(10);
