//! A fleet on a Redis that others wrote: few token requests, whatever happens to the store or to the
//! replicas, and never a request that fails for it.

mod servers;

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::redis_server::Redis;
use crate::support::fleet::{self, FAILING, LEASE, TAKEN_OVER};
use crate::support::{Gatepass, Reply, eventually, get};

/// What replicas have between them, and a Redis.
struct Stage(fleet::Stage);

impl Deref for Stage {
    type Target = fleet::Stage;

    fn deref(&self) -> &fleet::Stage {
        &self.0
    }
}

impl Stage {
    async fn new() -> Self {
        Self(fleet::Stage::new().await)
    }

    /// A configuration with these lines about the Redis.
    fn config(&self, store: &str) -> String {
        self.0.config(&format!("kind = \"redis\"\n{store}"), "")
    }

    /// Two replicas share; and still do after one of them has renewed what they share.
    async fn shares(&self, store: &str) -> [Gatepass; 2] {
        let config = self.config(store);
        let one = Gatepass::start(&config).ready().await;
        let other = Gatepass::start(&config).ready().await;
        assert_eq!(self.provider.count(), 1);
        self.renewal_reaches(&one, &other).await;
        [one, other]
    }

    /// What one renews, the other has soon, without asking.
    async fn renewal_reaches(&self, one: &Gatepass, other: &Gatepass) {
        let taken_over = other.metric(TAKEN_OVER).await;
        let before = self.provider.count();
        one.order_refresh("envase").await;
        other.wait_for_metric(TAKEN_OVER, taken_over + 1.0).await;
        assert_eq!(self.provider.count(), before + 1);
    }
}

fn at(port: u16) -> String {
    format!("url = \"redis://127.0.0.1:{port}\"")
}

/// Callers of all of a fleet, some requests a second each.
struct Calls {
    done: Arc<AtomicBool>,
    callers: JoinSet<(usize, Vec<String>)>,
}

impl Calls {
    fn begin() -> Self {
        Self {
            done: Arc::default(),
            callers: JoinSet::new(),
        }
    }

    /// Calls a replica until the end, or until it is gone.
    fn on(&mut self, gatepass: &Gatepass) {
        let (proxy, done) = (gatepass.proxy(), Arc::clone(&self.done));
        self.callers.spawn(async move {
            let (mut sent, mut failures) = (0, Vec::new());
            while !done.load(Ordering::Relaxed) {
                if tokio::net::TcpStream::connect(proxy).await.is_err() {
                    break;
                }
                let answer = tokio::spawn(async move { get(proxy, "/").await }).await;
                // One that is killed while it answers is no failure.
                let Ok(answer) = answer else { break };
                sent += 1;
                if answer.status() != 200 {
                    failures.push(format!("{}: {}", answer.status(), answer.body()));
                }
                sleep(Duration::from_millis(400)).await;
            }
            (sent, failures)
        });
    }

    async fn end(self) -> (usize, Vec<String>) {
        self.done.store(true, Ordering::Relaxed);
        let ends = self.callers.join_all().await.into_iter();
        ends.fold((0, Vec::new()), |(sent, mut all), (more, failures)| {
            all.extend(failures);
            (sent + more, all)
        })
    }
}

/// Whose turn it is, which does not last: several are asked at once. Not all, or they would be so busy
/// with answering that they find the store slow, and ask the provider by themselves.
async fn holder(fleet: &[Gatepass]) -> Option<usize> {
    for (batch, some) in fleet.chunks(AT_ONCE).enumerate() {
        let mut asked = JoinSet::new();
        for (position, gatepass) in some.iter().enumerate() {
            let admin = gatepass.admin();
            asked.spawn(async move {
                let metrics = get(admin, "/metrics").await.into_body();
                metrics
                    .contains(&format!("{LEASE} 1\n"))
                    .then_some(batch * AT_ONCE + position)
            });
        }
        if let Some(holder) = asked.join_all().await.into_iter().flatten().next() {
            return Some(holder);
        }
    }
    None
}

const AT_ONCE: usize = 8;

/// After a trouble: what one renews, the other takes over again at some time.
async fn share_again(one: &Gatepass, other: &Gatepass) {
    eventually("they share again", async || {
        let taken_over = other.metric(TAKEN_OVER).await;
        one.order_refresh("envase").await;
        sleep(Duration::from_secs(1)).await;
        other.metric(TAKEN_OVER).await > taken_over
    })
    .await;
}

/// A token of 10 s is due after 7 s at the earliest, for the earliest of many: so that is a life.
const LIFE: Duration = Duration::from_secs(7);

#[tokio::test(flavor = "multi_thread")]
async fn fifty_processes_ask_once_in_a_life_and_no_request_fails() {
    let stage = Stage::new().await;
    stage.provider.otherwise(Reply::Token(10.0));
    stage.provider.think_for(Duration::from_millis(300));
    let mut redis = Redis::start("").await;
    let config = stage.config(&at(redis.port()));
    let mut fleet = Vec::new();
    for _ in 0..50 {
        fleet.push(Gatepass::start(&config));
    }
    for gatepass in &fleet {
        gatepass.wait_for_probe("/readyz").await;
    }
    let mut calls = Calls::begin();
    fleet.iter().for_each(|gatepass| calls.on(gatepass));

    let began = Instant::now();
    let asked_before = stage.provider.count();
    println!("50 processes up: {asked_before} token requests");
    let mut killed = 0;
    for _ in 0..3 {
        stage
            .provider
            .wait_for_requests(stage.provider.count() + 2)
            .await;
        if let Some(holder) = holder(&fleet).await {
            drop(fleet.swap_remove(holder));
            killed += 1;
        }
    }
    assert!(killed > 0, "nobody was caught in the middle");
    sleep(Duration::from_secs(60).saturating_sub(began.elapsed())).await;
    let asked = stage.provider.count() - asked_before;
    let lives = began.elapsed().as_secs_f64() / LIFE.as_secs_f64();
    println!("one minute: {asked} token requests in {lives:.1} lives, {killed} holders killed");
    assert!(asked as f64 <= lives.ceil() + f64::from(killed), "{asked}");

    redis.kill();
    let asked_before = stage.provider.count();
    sleep(Duration::from_secs(20)).await;
    let asked = stage.provider.count() - asked_before;
    println!(
        "20 s without Redis: {asked} token requests by {} processes",
        fleet.len()
    );
    redis.start_again().await;
    sleep(Duration::from_secs(15)).await;
    let asked_before = stage.provider.count();
    sleep(Duration::from_secs(15)).await;
    let asked = stage.provider.count() - asked_before;
    println!("15 s with it again: {asked} token requests");
    assert!(asked <= 6, "they share again");

    let (sent, failures) = calls.end().await;
    println!("{sent} requests, {} failures", failures.len());
    assert_eq!(failures, Vec::<String>::new());
    assert_eq!(stage.upstream.bad_tokens(), Vec::<String>::new());
}

/// Tokens of seconds, a provider that takes one, and a Redis that swallows everything, or is gone.
#[tokio::test(flavor = "multi_thread")]
async fn short_lives_outlast_a_redis_that_hangs_and_one_that_is_killed() {
    let stage = Stage::new().await;
    stage.provider.otherwise(Reply::Token(10.0));
    stage.provider.think_for(Duration::from_secs(1));
    let mut redis = Redis::start("").await;
    let config = stage.config(&at(redis.port()));
    let mut fleet = Vec::new();
    for _ in 0..5 {
        fleet.push(Gatepass::start(&config).ready().await);
    }
    let mut calls = Calls::begin();
    fleet.iter().for_each(|gatepass| calls.on(gatepass));
    let shared_again = async || {
        for gatepass in &fleet {
            gatepass.wait_for_metric(FAILING, 0.0).await;
        }
    };

    redis.signal(Signal::STOP);
    sleep(Duration::from_secs(40)).await;
    redis.signal(Signal::CONT);
    shared_again().await;
    redis.kill();
    sleep(Duration::from_secs(40)).await;
    redis.start_again().await;
    shared_again().await;

    let (sent, failures) = calls.end().await;
    println!("{sent} requests, {} failures", failures.len());
    assert_eq!(failures, Vec::<String>::new());
    assert_eq!(stage.upstream.bad_tokens(), Vec::<String>::new());
}

/// As a network does that swallows everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_stops_and_wakes_costs_no_request() {
    let stage = Stage::new().await;
    let redis = Redis::start("").await;
    let [one, other] = stage.shares(&at(redis.port())).await;
    let mut calls = Calls::begin();
    calls.on(&one);
    redis.signal(Signal::STOP);
    let before = stage.provider.count();
    one.order_refresh("envase").await;
    stage.provider.wait_for_requests(before + 1).await;
    one.output_with("did not answer within 1s");
    // What starts now does not wait for it either.
    let late = Gatepass::start(&stage.config(&at(redis.port())))
        .ready()
        .await;
    calls.on(&late);
    redis.signal(Signal::CONT);
    share_again(&one, &other).await;
    let (_, failures) = calls.end().await;
    assert_eq!(failures, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_starts_again_empty_is_filled_again() {
    let stage = Stage::new().await;
    let mut redis = Redis::start("").await;
    let [one, other] = stage.shares(&at(redis.port())).await;
    redis.kill();
    redis.start_again().await;
    share_again(&one, &other).await;
    let late = Gatepass::start(&stage.config(&at(redis.port())))
        .ready()
        .await;
    assert_eq!(late.metric(TAKEN_OVER).await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_full_costs_no_request() {
    let stage = Stage::new().await;
    let redis = Redis::start("maxmemory 1\nmaxmemory-policy noeviction").await;
    let gatepass = Gatepass::start(&stage.config(&at(redis.port())))
        .ready()
        .await;
    let told = gatepass.output_with("OOM");
    assert!(!told.contains("@user_script"), "{told}");
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_type_is_written_anew() {
    let stage = Stage::new().await;
    let redis = Redis::start("").await;
    let [one, other] = stage.shares(&at(redis.port())).await;
    let key = redis.cli(&["keys", "gatepass:*"]).trim().to_owned();
    redis.cli(&["del", &key]);
    redis.cli(&["lpush", &key, "canary"]);
    stage.renewal_reaches(&one, &other).await;
    assert!(!one.output().contains("WRONGTYPE"), "{}", one.output());
}

/// libfaketime sets the clocks of one process.
#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_are_hours_apart_make_no_difference() {
    let stage = Stage::new().await;
    let redis = Redis::start("").await;
    let config = stage.config(&at(redis.port()));
    let one = Gatepass::start(&config).ready().await;
    for offset in ["+3h", "-3h"] {
        let environment = [("LD_PRELOAD", FAKETIME), ("FAKETIME", offset)];
        let other = Gatepass::start_with(&config, &environment).ready().await;
        let line: serde_json::Value = other.wait_for_event("listening");
        let told = line["timestamp"].as_str().unwrap().to_owned();
        let now = one.wait_for_event("listening")["timestamp"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_ne!(
            told.get(..13),
            now.get(..13),
            "the clock is not set: install faketime"
        );
        assert_eq!(other.metric(TAKEN_OVER).await, 1.0);
        assert_eq!(get(other.proxy(), "/").await.status(), 200);
        stage.renewal_reaches(&other, &one).await;
        stage.renewal_reaches(&one, &other).await;
    }
    assert_eq!(stage.provider.count(), 5);
    assert_eq!(stage.upstream.bad_tokens(), Vec::<String>::new());
}

const FAKETIME: &str = "/usr/$LIB/faketime/libfaketime.so.1";

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_is_stopped_for_long_brings_nothing_back() {
    let stage = Stage::new().await;
    stage.provider.otherwise(Reply::Token(10.0));
    stage.provider.think_for(Duration::from_millis(500));
    let redis = Redis::start("").await;
    let config = stage.config(&at(redis.port()));
    let one = Gatepass::start(&config).ready().await;
    let other = Gatepass::start(&config).ready().await;
    let mut calls = Calls::begin();
    calls.on(&other);
    let before = stage.provider.count();
    one.order_refresh("envase").await;
    stage.provider.wait_for_requests(before + 1).await;
    one.signal(Signal::STOP);
    sleep(Duration::from_secs(12)).await;
    one.signal(Signal::CONT);
    one.wait_for_probe("/readyz").await;
    calls.on(&one);
    sleep(Duration::from_secs(3)).await;
    let (_, failures) = calls.end().await;
    assert_eq!(failures, Vec::<String>::new());
    assert_eq!(stage.upstream.bad_tokens(), Vec::<String>::new());
}
