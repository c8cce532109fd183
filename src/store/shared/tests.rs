//! Several replicas on a stopped clock, with a store that does what it is told.

mod trouble;
mod turns;

use std::pin::{Pin, pin};

use prometheus::Registry;
use secrecy::ExposeSecret;

use super::*;
use crate::store::hourly::HOUR;
use crate::store::{Answer, Backend, Memory, Reading, Seal, StoreError, StoresMetrics, Swap};

/// Counts how often it is asked.
#[derive(Clone, Default)]
struct Provider(Rc<RefCell<Play>>);

struct Play {
    asked: usize,
    takes: Duration,
    lifetime: Duration,
    refresh_in: Option<Duration>,
    fails: Option<FailureKind>,
    /// It fails before it has asked.
    is_unasked: bool,
    /// What it gets tokens with changes all the time.
    changes: bool,
    must_finish: bool,
}

impl Default for Play {
    fn default() -> Self {
        Self {
            asked: 0,
            takes: Duration::ZERO,
            lifetime: HOUR,
            refresh_in: None,
            fails: None,
            is_unasked: false,
            changes: false,
            must_finish: false,
        }
    }
}

impl Provider {
    fn asked(&self) -> usize {
        self.0.borrow().asked
    }
}

impl TokenSource for Provider {
    fn fetch(&self, _: Occasion) -> FetchFuture<'_> {
        Box::pin(async {
            let (number, takes, lifetime, refresh_in, fails, is_unasked) = {
                let mut play = self.0.borrow_mut();
                play.asked += 1;
                let Play {
                    asked,
                    takes,
                    lifetime,
                    refresh_in,
                    fails,
                    is_unasked,
                    ..
                } = *play;
                (asked, takes, lifetime, refresh_in, fails, is_unasked)
            };
            sleep(takes).await;
            match fails {
                Some(kind) => Err(FetchError {
                    unasked: is_unasked,
                    ..kind.because("as the test says")
                }),
                None => Ok(FetchedToken {
                    refresh_in,
                    ..FetchedToken::fresh(format!("token-{number}"), lifetime)
                }),
            }
        })
    }

    fn changed(&self) -> Changed<'_> {
        match self.0.borrow().changes {
            true => Box::pin(async { Some("the test says so") }),
            false => Box::pin(pending()),
        }
    }

    fn must_finish(&self) -> bool {
        self.0.borrow().must_finish
    }
}

/// A store in trouble.
struct Troubled {
    memory: Memory,
    trouble: Cell<Trouble>,
}

#[derive(Clone, Copy, PartialEq)]
enum Trouble {
    None,
    Down,
    Hangs,
    Garbage,
    Full,
}

impl Backend for Troubled {
    fn read<'a>(&'a self, name: &'a str) -> Answer<'a, Reading> {
        match self.trouble.get() {
            Trouble::None | Trouble::Full => self.memory.read(name),
            Trouble::Down => Box::pin(async { Err(StoreError::Unavailable("is down".into())) }),
            Trouble::Hangs => Box::pin(pending()),
            Trouble::Garbage => Box::pin(async move {
                let mut reading = self.memory.read(name).await?;
                reading.bytes = b"garbage".to_vec();
                Ok(reading)
            }),
        }
    }

    fn swap<'a>(&'a self, name: &'a str, swap: Swap<'a>) -> Answer<'a, bool> {
        match self.trouble.get() {
            Trouble::Full => Box::pin(async { Err(StoreError::Unavailable("is full".into())) }),
            _ => self.memory.swap(name, swap),
        }
    }

    fn news<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
        self.memory.news(name)
    }

    fn brings_news(&self) -> bool {
        true
    }
}

struct Fleet {
    provider: Provider,
    store: Rc<Troubled>,
    metrics: StoresMetrics,
}

impl Fleet {
    fn new() -> Self {
        // Who waits how long is the same in every run.
        fastrand::seed(7);
        let store = Troubled {
            memory: Memory::new(),
            trouble: Cell::new(Trouble::None),
        };
        Self {
            provider: Provider::default(),
            store: Rc::new(store),
            metrics: StoresMetrics::register(&Registry::new()).unwrap(),
        }
    }

    fn replica(&self) -> SharedSource {
        self.replica_within(None)
    }

    fn replica_within(&self, per_hour: Option<u32>) -> SharedSource {
        let metrics = self.metrics.for_credential("a", per_hour);
        self.metrics.show("a", &metrics);
        let store: Rc<dyn Backend> = Rc::<Troubled>::clone(&self.store);
        let time_out = Duration::from_secs(1);
        let credential = || "a".to_owned();
        let entry = Entry::new(
            store,
            Seal::Clear,
            time_out,
            credential(),
            "id",
            metrics.clone(),
        );
        let settings = SharingSettings {
            timeout: Duration::from_secs(10),
            per_hour,
        };
        let source = Box::new(self.provider.clone());
        SharedSource::new(
            source,
            credential(),
            Some(Rc::new(entry)),
            settings,
            metrics,
        )
    }
}

async fn due(replica: &SharedSource) -> Result<String, FetchError> {
    let fetched = replica.fetch(Occasion::Due).await?;
    Ok(fetched.secret.expose_secret().to_owned())
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_hundred_that_start_together_ask_once() {
    let fleet = Fleet::new();
    fleet.provider.0.borrow_mut().takes = Duration::from_millis(300);
    let replicas: Vec<_> = (0..100).map(|_| Rc::new(fleet.replica())).collect();
    let fetches: Vec<_> = replicas
        .iter()
        .map(|replica| {
            let replica = Rc::clone(replica);
            tokio::task::spawn_local(async move { due(&replica).await })
        })
        .collect();
    for fetch in fetches {
        assert_eq!(fetch.await.unwrap().unwrap(), "token-1");
    }
    assert_eq!(fleet.provider.asked(), 1);
    assert!(replicas.iter().all(|replica| replica.shared_by().is_some()));
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_token_is_as_old_as_it_is_for_those_who_take_it_over() {
    let fleet = Fleet::new();
    due(&fleet.replica()).await.unwrap();
    sleep(Duration::from_secs(600)).await;
    let taken = fleet.replica().fetch(Occasion::Due).await.unwrap();
    assert_eq!(taken.age, Duration::from_secs(600));
    assert_eq!(taken.lifetime, HOUR);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn what_another_gets_arrives_without_asking() {
    let fleet = Fleet::new();
    let (one, other) = (fleet.replica(), fleet.replica());
    due(&one).await.unwrap();
    due(&other).await.unwrap();
    let mut arrival = pin!(other.changed());
    let begun = tokio::time::timeout(Duration::ZERO, arrival.as_mut()).await;
    begun.expect_err("there is no news yet");
    assert_eq!(due(&one).await.unwrap(), "token-2");
    arrival.await;
    fleet.store.trouble.set(Trouble::Down);
    assert_eq!(
        due(&other).await.unwrap(),
        "token-2",
        "it is at hand already"
    );
    assert_eq!(fleet.provider.asked(), 2);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_holder_that_dies_holds_the_others_up_for_its_turn_only() {
    let fleet = Fleet::new();
    let holder = fleet.replica();
    {
        fleet.provider.0.borrow_mut().takes = Duration::from_secs(9);
        let mut fetch = pin!(holder.fetch(Occasion::Due));
        tokio::select! {
            _ = fetch.as_mut() => panic!("it takes longer"),
            () = sleep(Duration::from_secs(2)) => {}
        }
    }
    fleet.provider.0.borrow_mut().takes = Duration::ZERO;
    let began = Instant::now();
    assert_eq!(due(&fleet.replica()).await.unwrap(), "token-2");
    assert!(
        began.elapsed() <= waiting::FIRST_TURN + Duration::from_millis(10),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_holder_that_takes_its_time_keeps_its_turn() {
    let fleet = Fleet::new();
    fleet.provider.0.borrow_mut().takes = Duration::from_secs(9);
    let (one, other) = (fleet.replica(), fleet.replica());
    let (first, second) = tokio::join!(due(&one), due(&other));
    assert_eq!(
        (first.unwrap(), second.unwrap()),
        ("token-1".into(), "token-1".into())
    );
    assert_eq!(fleet.provider.asked(), 1);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_provider_that_fails_is_asked_at_the_pace_of_one() {
    let fleet = Fleet::new();
    fleet.provider.0.borrow_mut().fails = Some(FailureKind::Refused);
    let replicas: Vec<_> = (0..50).map(|_| fleet.replica()).collect();
    for replica in &replicas {
        due(replica).await.unwrap_err();
    }
    assert_eq!(fleet.provider.asked(), 1);
    sleep(Duration::from_secs(6)).await;
    fleet.provider.0.borrow_mut().fails = None;
    for replica in &replicas {
        assert_eq!(due(replica).await.unwrap(), "token-2");
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn who_has_nothing_takes_what_is_left_of_a_token() {
    let fleet = Fleet::new();
    due(&fleet.replica()).await.unwrap();
    sleep(HOUR / 10 * 9).await;
    fleet.provider.0.borrow_mut().fails = Some(FailureKind::Unavailable);
    let late = fleet.replica();
    assert_eq!(due(&late).await.unwrap(), "token-1");
    due(&late).await.unwrap_err();
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_budget_holds_back_what_can_wait() {
    let fleet = Fleet::new();
    let frugal = fleet.replica_within(Some(2));
    due(&frugal).await.unwrap();
    frugal.fetch(Occasion::Demanded).await.unwrap();
    let error = frugal.fetch(Occasion::Demanded).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::HeldBack);
    assert!(
        error.message.contains("2 token requests an hour"),
        "{error}"
    );
    let wait = error.retry_after.unwrap();
    assert_eq!(Some(wait), frugal.until_asking(), "and no longer");
    assert_eq!(fleet.provider.asked(), 2);
    // Not when the token would die of it.
    sleep(Duration::from_secs(3_500)).await;
    due(&frugal).await.unwrap();
    assert_eq!(fleet.provider.asked(), 3);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_budget_holds_without_the_store() {
    let fleet = Fleet::new();
    fleet.store.trouble.set(Trouble::Down);
    let frugal = fleet.replica_within(Some(2));
    for _ in 0..2 {
        frugal.fetch(Occasion::Demanded).await.unwrap();
    }
    frugal.fetch(Occasion::Demanded).await.unwrap_err();
    assert_eq!(fleet.provider.asked(), 2);
}
