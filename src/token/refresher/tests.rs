//! The refresher on a stopped clock: what happens exactly when.

mod demands;
mod pace;
mod told;
mod too_new;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use prometheus::Registry;
use tokio::time::{advance, sleep};

use super::*;
use crate::readiness::Readiness;
use crate::token::cell;
use crate::token::metrics::TokenMetrics;
use crate::token::schedule::{self, Spread};
use crate::token::source::{Changed, FailureKind, FetchError, FetchFuture, FetchedToken};
use crate::token::{Refusal, RefusalSettings, TokenReader, TokenState};

/// What the scripted source does at one attempt.
enum Answer {
    Token {
        lifetime: Duration,
        delay: Duration,
    },
    /// One that is the same each time.
    Again {
        lifetime: Duration,
    },
    Failure(FailureKind),
    Throttled {
        retry_after: Duration,
    },
    HeldBack {
        wait: Duration,
    },
    Panic,
    Silence,
}

/// Plays a script and notes when it was asked. When the script is over, it fails.
#[derive(Clone, Default)]
struct Script(Rc<RefCell<Play>>);

#[derive(Default)]
struct Play {
    answers: VecDeque<Answer>,
    shared_by: Option<String>,
    asked: Vec<Instant>,
    under_way: usize,
    changed: Rc<tokio::sync::Notify>,
    most_under_way: usize,
}

impl TokenSource for Script {
    fn fetch(&self, _: Occasion) -> FetchFuture<'_> {
        let number = {
            let mut play = self.0.borrow_mut();
            play.asked.push(Instant::now());
            play.under_way += 1;
            play.most_under_way = play.most_under_way.max(play.under_way);
            play.asked.len()
        };
        let answer = self.0.borrow_mut().answers.pop_front();
        Box::pin(async move {
            let fetched = |secret: String, lifetime| FetchedToken::fresh(secret, lifetime);
            let outcome = match answer {
                Some(Answer::Token { lifetime, delay }) => {
                    if !delay.is_zero() {
                        sleep(delay).await;
                    }
                    Ok(fetched(format!("token-{number}"), lifetime))
                }
                Some(Answer::Again { lifetime }) => Ok(fetched("token".into(), lifetime)),
                Some(Answer::Failure(kind)) => Err(kind.because("as the script says")),
                Some(Answer::Throttled { retry_after }) => Err(FetchError {
                    retry_after: Some(retry_after),
                    ..FailureKind::Throttled.because("as the script says")
                }),
                Some(Answer::HeldBack { wait }) => Err(FetchError {
                    retry_after: Some(wait),
                    ..FailureKind::HeldBack.because("as the script says")
                }),
                Some(Answer::Panic) => {
                    self.0.borrow_mut().under_way -= 1;
                    panic!("as the script says")
                }
                Some(Answer::Silence) => std::future::pending().await,
                None => Err(FailureKind::Unavailable.because("the script is over")),
            };
            self.0.borrow_mut().under_way -= 1;
            outcome
        })
    }

    fn shared_by(&self) -> Option<String> {
        self.0.borrow().shared_by.clone()
    }

    fn changed(&self) -> Changed<'_> {
        let changed = Rc::clone(&self.0.borrow().changed);
        Box::pin(async move {
            changed.notified().await;
            Some("the test says so")
        })
    }
}

struct Stage {
    script: Script,
    reader: TokenReader,
    readiness: Readiness,
    registry: Registry,
    _task: tokio_util::task::AbortOnDropHandle<()>,
}

impl Stage {
    fn play(answers: impl IntoIterator<Item = Answer>) -> Self {
        let script = Script::default();
        script.0.borrow_mut().answers.extend(answers);
        let registry = Registry::new();
        let metrics = TokenMetrics::register(&registry).unwrap();
        let (writer, reader) = cell::channel(
            "envase",
            RefusalSettings::default(),
            metrics.refusals("envase"),
        );
        let readiness = Readiness::default();
        let shown = metrics.for_credential("envase");
        metrics.show("envase", &shown);
        let refresher = Refresher::new(
            Box::new(script.clone()),
            writer,
            shown,
            fastrand::Rng::with_seed(7),
            readiness.startup("first token"),
            Rc::default(),
            Spread::default(),
        );
        let task = tokio::task::spawn_local(refresher.run_supervised());
        Self {
            script,
            reader,
            readiness,
            registry,
            _task: tokio_util::task::AbortOnDropHandle::new(task),
        }
    }

    fn fetches(&self) -> usize {
        self.script.0.borrow().asked.len()
    }

    fn refuse(&self, generation: u64) -> Refusal {
        self.reader.refuse(generation, &"api".into())
    }

    fn header(&self) -> Option<String> {
        let state = self.reader.load();
        let value = state.valid()?.header();
        Some(value.to_str().unwrap().to_owned())
    }

    fn sample(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|f| f.name() == name).unwrap();
        let metric = &family.get_metric()[0];
        metric.get_gauge().get_value() + metric.get_counter().get_value()
    }
}

/// A provider that hands out what it has, or a file that nobody has written anew.
#[tokio::test(flavor = "local", start_paused = true)]
async fn the_same_token_again_is_no_new_one() {
    let stage = Stage::play([again(3_600), again(3_600), token(3_600)]);
    for (fetches, generation) in [(1, 1), (2, 1), (3, 2)] {
        sleep(Duration::from_secs(2)).await;
        assert_eq!(stage.fetches(), fetches);
        assert_eq!(stage.reader.load().generation(), generation);
        stage.reader.refresh_now();
    }
}

fn again(seconds: u64) -> Answer {
    Answer::Again {
        lifetime: Duration::from_secs(seconds),
    }
}

fn token(seconds: u64) -> Answer {
    Answer::Token {
        lifetime: Duration::from_secs(seconds),
        delay: Duration::ZERO,
    }
}

/// Lets everything that is due at this instant happen.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

async fn pass(duration: Duration) {
    advance(duration).await;
    settle().await;
}

/// The refresh that the seed above leads to, for the first token.
fn first_refresh(lifetime: Duration) -> Duration {
    let jitter = fastrand::Rng::with_seed(7).f64();
    let early = Spread::default().early(lifetime, true, jitter);
    schedule::refresh_after(lifetime, None, early)
}

const MILLISECOND: Duration = Duration::from_millis(1);

#[tokio::test(flavor = "local", start_paused = true)]
async fn refreshes_when_due_and_not_a_millisecond_before() {
    let lifetime = Duration::from_secs(3600);
    let stage = Stage::play([token(3600), token(3600)]);
    settle().await;
    assert_eq!(stage.header().as_deref(), Some("Bearer token-1"));

    pass(first_refresh(lifetime) - MILLISECOND).await;
    assert_eq!(stage.fetches(), 1, "not yet");
    pass(2 * MILLISECOND).await;
    assert_eq!(stage.fetches(), 2, "now");
    assert_eq!(stage.header().as_deref(), Some("Bearer token-2"));
    assert_eq!(stage.reader.load().valid().unwrap().generation(), 2);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn the_life_counts_from_before_the_request_was_sent() {
    let stage = Stage::play([Answer::Token {
        lifetime: Duration::from_secs(10),
        delay: Duration::from_secs(4),
    }]);
    settle().await;
    assert!(stage.header().is_none());
    pass(Duration::from_secs(4) + MILLISECOND).await;
    assert!(stage.header().is_some());
    // The token is retired 9 s after it was asked for: 5 s after it came.
    pass(Duration::from_secs(5) - 3 * MILLISECOND).await;
    assert!(stage.header().is_some(), "not yet");
    pass(4 * MILLISECOND).await;
    assert!(stage.header().is_none(), "now");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_failed_refresh_keeps_the_token_to_its_end_and_no_longer() {
    let stage = Stage::play([token(100)]);
    settle().await;
    for _ in 0..98 {
        pass(Duration::from_secs(1)).await;
    }
    pass(Duration::from_secs(1) - MILLISECOND).await;
    assert!(stage.fetches() > 2, "it kept trying");
    assert_eq!(stage.header().as_deref(), Some("Bearer token-1"), "not yet");
    assert_eq!(stage.sample("gatepass_token_usable"), 1.0);
    pass(2 * MILLISECOND).await;
    assert!(stage.header().is_none(), "now");
    assert_eq!(stage.sample("gatepass_token_usable"), 0.0);
    assert!(matches!(**stage.reader.load(), TokenState::Expired(_)));
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_token_expires_on_time_while_the_provider_is_silent() {
    let stage = Stage::play([token(100), Answer::Silence]);
    settle().await;
    pass(Duration::from_secs(99) - MILLISECOND).await;
    assert_eq!(stage.fetches(), 2, "the second one hangs");
    assert!(stage.header().is_some(), "not yet");
    pass(2 * MILLISECOND).await;
    assert!(stage.header().is_none(), "now");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn at_most_two_fetches_a_life_in_the_calm() {
    for seconds in [2u64, 3, 5, 60, 3600, 86_400, 365 * 86_400] {
        let lives = 20;
        let stage = Stage::play((0..100).map(|_| token(seconds)));
        let step = Duration::from_secs(seconds) / 40;
        for _ in 0..lives * 40 {
            pass(step).await;
            assert!(stage.header().is_some(), "life {seconds}: always a token");
        }
        assert!(
            stage.fetches() <= 2 * lives + 1,
            "life {seconds}: {}",
            stage.fetches()
        );
        assert_eq!(stage.script.0.borrow().most_under_way, 1);
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_life_of_centuries_overflows_nothing() {
    let stage = Stage::play([Answer::Token {
        lifetime: Duration::from_secs(u64::MAX),
        delay: Duration::ZERO,
    }]);
    settle().await;
    assert!(stage.header().is_some());
    let ten_years = Duration::from_secs(10 * 365 * 24 * 3600);
    pass(first_refresh(ten_years) - MILLISECOND).await;
    assert_eq!(stage.fetches(), 1);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_token_that_is_over_on_arrival_is_not_used() {
    let stage = Stage::play([Answer::Token {
        lifetime: Duration::from_secs(4),
        delay: Duration::from_secs(3),
    }]);
    settle().await;
    pass(Duration::from_secs(3) + MILLISECOND).await;
    assert!(stage.header().is_none());
    let why = stage.reader.load().why_unusable().unwrap();
    assert!(why.contains("over before it arrived"), "{why}");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn survives_a_panic_of_its_source() {
    let stage = Stage::play([Answer::Panic, token(3600)]);
    settle().await;
    assert!(stage.header().is_none());
    pass(Duration::from_secs(2)).await;
    assert_eq!(stage.header().as_deref(), Some("Bearer token-2"));
    assert_eq!(stage.sample("gatepass_token_refresher_restarts_total"), 1.0);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn start_up_is_over_after_the_first_attempt_even_if_it_fails() {
    let stage = Stage::play([Answer::Failure(FailureKind::Unavailable)]);
    assert_eq!(stage.readiness.starting(), ["first token"]);
    settle().await;
    assert!(stage.readiness.starting().is_empty());
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn debug_output_hides_the_token() {
    let stage = Stage::play([token(3600)]);
    settle().await;
    let shown = format!("{:?}", stage.reader);
    assert!(!shown.contains("token-1"), "{shown}");
}
