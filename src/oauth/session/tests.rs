//! Replicas of one user, a provider that takes each refresh token once, and a store that fails now and
//! then.

use std::pin::Pin;
use std::sync::mpsc::Sender;

use prometheus::Registry;

use super::*;
use crate::store::{
    Answer, Backend, Memory, Reading, Seal, SharedSource, SharingSettings, StoresMetrics, Swap,
};
use crate::token::source::{
    Changed, FailureKind, FetchError, FetchFuture, FetchedToken, Occasion, TokenSource,
};

/// Fails so many times.
struct Flaky {
    memory: Memory,
    failures: Cell<u32>,
}

impl Backend for Flaky {
    fn read<'a>(&'a self, name: &'a str) -> Answer<'a, Reading> {
        match self.failures.get() {
            0 => self.memory.read(name),
            left => {
                self.failures.set(left - 1);
                Box::pin(async { Err(StoreError::Unavailable("refuses connections".into())) })
            }
        }
    }

    fn swap<'a>(&'a self, name: &'a str, swap: Swap<'a>) -> Answer<'a, bool> {
        self.memory.swap(name, swap)
    }

    fn news<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
        self.memory.news(name)
    }

    fn brings_news(&self) -> bool {
        true
    }
}

/// What replicas have in common.
struct World {
    store: Rc<Flaky>,
    /// How often the store fails once the provider has answered.
    trouble: Cell<u32>,
    /// What the provider was shown, in order; a password is nothing.
    shown: RefCell<Vec<Option<String>>>,
    /// Which refresh token it takes, by number.
    valid: Cell<usize>,
}

impl World {
    fn new() -> Rc<Self> {
        Rc::new(Self {
            store: Rc::new(Flaky {
                memory: Memory::new(),
                failures: Cell::new(0),
            }),
            trouble: Cell::new(0),
            shown: RefCell::default(),
            valid: Cell::new(0),
        })
    }

    fn shown(&self) -> Vec<String> {
        let shown = self.shown.borrow();
        let name = |of: &Option<String>| of.clone().unwrap_or_else(|| "password".into());
        shown.iter().map(name).collect()
    }

    /// The refresh token that comes in the place of this one, or after a password.
    fn exchange(&self, shown: Option<&SecretString>) -> Option<SecretString> {
        let shown = shown.map(|shown| shown.expose_secret().to_owned());
        self.shown.borrow_mut().push(shown.clone());
        let is_good = shown.is_none_or(|shown| shown == format!("refresh-{}", self.valid.get()));
        is_good.then(|| {
            self.valid.set(self.valid.get() + 1);
            self.store.failures.set(self.trouble.take());
            format!("refresh-{}", self.valid.get()).into()
        })
    }

    fn replica(self: &Rc<Self>, has_password: bool) -> Replica {
        let metrics = StoresMetrics::register(&Registry::new()).unwrap();
        let metrics = metrics.for_credential("a", None);
        let store: Rc<dyn Backend> = Rc::<Flaky>::clone(&self.store);
        let time_out = Duration::from_secs(1);
        let entry = Entry::new(
            store,
            Seal::Clear,
            time_out,
            "a".into(),
            "id",
            metrics.clone(),
        );
        let entry = Rc::new(entry);
        let session = Rc::new(Session::new("a".into(), None, Some(Rc::clone(&entry))));
        let source = Refreshing {
            world: Rc::clone(self),
            session: Rc::clone(&session),
            has_password,
        };
        let settings = SharingSettings {
            timeout: Duration::from_secs(10),
            per_hour: None,
        };
        let source =
            SharedSource::new(Box::new(source), "a".into(), Some(entry), settings, metrics);
        Replica { source, session }
    }
}

struct Replica {
    source: SharedSource,
    session: Rc<Session>,
}

impl Replica {
    async fn refreshes(&self) -> Result<(), FetchError> {
        self.source.fetch(Occasion::Demanded).await.map(drop)
    }
}

/// As a client does it whose refusals last.
struct Refreshing {
    world: Rc<World>,
    session: Rc<Session>,
    has_password: bool,
}

impl Refreshing {
    async fn exchange(&self) -> Option<SecretString> {
        let kept = self.session.refresh_token("clerk", !self.has_password);
        if let Some(kept) = kept.await.unwrap() {
            let next = self.world.exchange(Some(&kept));
            if next.is_some() {
                return next;
            }
            let refusal = FailureKind::Refused.because("answered 400 invalid_grant");
            self.session.forget(&kept, &refusal).await;
        }
        self.has_password.then(|| self.world.exchange(None))?
    }
}

impl TokenSource for Refreshing {
    fn fetch(&self, _: Occasion) -> FetchFuture<'_> {
        Box::pin(async {
            let Some(next) = self.exchange().await else {
                let nobody = FailureKind::Misconfigured.because("nobody has logged in");
                return Err(nobody.before_asking());
            };
            self.session
                .keep("clerk", next, Duration::from_secs(5))
                .await;
            Ok(FetchedToken::fresh(
                format!("token-{}", self.world.valid.get()),
                Duration::from_secs(3_600),
            ))
        })
    }

    fn must_finish(&self) -> bool {
        true
    }

    fn changed(&self) -> Changed<'_> {
        Box::pin(async {
            self.session.catch_up().await;
            std::future::pending().await
        })
    }
}

/// The first tries come too early, and the last does not.
#[tokio::test(flavor = "local", start_paused = true)]
async fn a_store_that_starts_again_has_a_moment_to_do_so() {
    let world = World::new();
    let replica = world.replica(true);
    world.trouble.set(STORE_TRIES - 1);
    let began = tokio::time::Instant::now();
    replica.refreshes().await.unwrap();
    assert!(replica.session.unkept().is_none());
    assert_eq!(began.elapsed(), STORE_PAUSE * 3);
}

/// Another that has come meanwhile has not been refused at all.
#[tokio::test(start_paused = true)]
async fn refusals_last_when_they_are_of_one_refresh_token_in_a_row() {
    const LONG: Duration = Duration::from_secs(60);
    let session = Session::new("a".into(), None, None);
    let [one, other] = ["refresh-1", "refresh-2"].map(SecretString::from);
    let refused = |of| session.refused_for_long(of, LONG);
    let long = || tokio::time::advance(LONG);
    assert!([(); 9].iter().all(|()| !refused(&one)), "often, at once");
    long().await;
    assert!(refused(&one));
    assert!(!refused(&other));
    long().await;
    assert!(!refused(&other), "for long, twice");
    assert!(refused(&other));
    session.has_worked();
    long().await;
    assert!(!refused(&other), "not in a row");
}

/// All but that it follows the one in the store could be told.
#[tokio::test(flavor = "local", start_paused = true)]
async fn a_used_refresh_token_that_stands_in_the_store_is_taken_by_nobody() {
    let world = World::new();
    let [one, other] = [world.replica(true), world.replica(true)];
    one.refreshes().await.unwrap();
    world.trouble.set(STORE_TRIES);
    one.refreshes().await.unwrap();
    assert!(one.session.unkept().is_some());
    // It takes over the token that was got with it, and wants another.
    other.refreshes().await.unwrap();
    other.refreshes().await.unwrap();
    assert_eq!(world.shown(), ["password", "refresh-1", "password"]);
}

/// The other has the used one refused, and takes it out.
#[tokio::test(flavor = "local", start_paused = true)]
async fn who_could_not_store_a_session_goes_on_with_it() {
    let world = World::new();
    world.replica(true).refreshes().await.unwrap();
    let [one, other] = [world.replica(false), world.replica(false)];
    one.refreshes().await.unwrap();
    world.trouble.set(STORE_TRIES);
    one.refreshes().await.unwrap();
    other.refreshes().await.unwrap();
    other.refreshes().await.unwrap_err();
    one.refreshes().await.unwrap();
    let shown = ["password", "refresh-1", "refresh-1", "refresh-2"];
    assert_eq!(world.shown(), shown);
    other.refreshes().await.unwrap();
    other.refreshes().await.unwrap();
    assert_eq!(world.shown()[4..], ["refresh-3"]);
}

/// And once the store can be written, all can.
#[tokio::test(flavor = "local", start_paused = true)]
async fn what_could_not_be_stored_is_tried_again_between_two_attempts() {
    let world = World::new();
    world.replica(true).refreshes().await.unwrap();
    let [one, other] = [world.replica(false), world.replica(false)];
    one.refreshes().await.unwrap();
    world.trouble.set(STORE_TRIES + 3);
    one.refreshes().await.unwrap();
    let waits = tokio::time::timeout(NEXT_TRY * 4, one.source.changed());
    waits.await.expect_err("nothing to ask for");
    assert!(one.session.unkept().is_none());
    other.refreshes().await.unwrap();
    other.refreshes().await.unwrap();
    assert_eq!(world.shown(), ["password", "refresh-1", "refresh-2"]);
}

impl Session {
    /// Has the disk hang that the session is on, until what is returned is dropped.
    pub(in crate::oauth) async fn hang(&self) -> Sender<()> {
        let Keeper::File(file) = &self.keeper else {
            panic!("it is in no file");
        };
        file.hang().await
    }
}
