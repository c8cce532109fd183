//! Promise: a clock that is set, forward or back, costs no request. Forward beyond a token's end it
//! costs one token request, for a token may be over then. And of the time that the machine was asleep
//! nothing counts that was before the token.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::support::{AuthorizationServer, Gatepass, Upstream, get, simple_config};
use crate::traffic::Traffic;

/// Debian's libfaketime, which the process is started with.
fn faketime() -> PathBuf {
    let places = fs::read_dir("/usr/lib").unwrap();
    let mut places = places.map(|place| place.unwrap().path().join("faketime/libfaketime.so.1"));
    let found = places.find(|path| path.exists());
    found.expect("libfaketime; tests/soak/run installs it")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_costs_no_request() {
    let directory = tempfile::tempdir().unwrap();
    let clock = directory.path().join("clock");
    let set = |offset: &str| {
        let beside = clock.with_extension("next");
        fs::write(&beside, offset).unwrap();
        fs::rename(beside, &clock).unwrap();
    };
    set("+0s");
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    upstream.check_tokens(provider.introspection());
    let faketime = faketime();
    let environment = [
        ("LD_PRELOAD", faketime.to_str().unwrap()),
        ("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap()),
        ("FAKETIME_NO_CACHE", "1"),
        // Timers count what has passed, whatever the clock says.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("GATEPASS__LOG__LEVEL", "info"),
    ];
    let gatepass = Gatepass::start_with(&simple_config(&provider, &upstream), &environment)
        .ready()
        .await;
    let pause = Duration::from_millis(2);
    let traffic = Traffic::start(gatepass.proxy(), &["/"], 4, pause);
    traffic.goes_on().await;
    assert_eq!(provider.count(), 1);

    // The clock, and how many tokens were fetched by then: back costs none, forward one where the
    // token at hand may be over by it.
    for (offset, fetched) in [
        ("-7200s", 1),
        ("+0s", 2),
        ("+600s", 2),
        ("-31536000s", 2),
        ("+0s", 3),
        ("+7200s", 4),
    ] {
        set(offset);
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        traffic.goes_on().await;
        assert_eq!(get(gatepass.admin(), "/readyz").await.status(), 200);
        assert_eq!(provider.count(), fetched, "after {offset}");
    }
    gatepass.output_with("the clock was set forward beyond the token's end");

    let account = traffic.stop().await;
    println!(
        "clock: {} requests, {} lost",
        account.answered,
        account.lost.len()
    );
    assert_eq!(account.lost, Vec::<String>::new());
    assert_eq!(upstream.bad_tokens(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sleep_before_the_start_takes_nothing_off_a_token() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let directory = tempfile::tempdir().unwrap();
    let config = simple_config(&provider, &upstream);
    fs::write(directory.path().join("gatepass.toml"), config).unwrap();
    // A machine that has slept for two hours since it was started (time_namespaces(7)).
    let asleep = "unshare --map-root-user --time --boottime 7200 --fork --kill-child";
    let line = format!("{asleep} gatepass run --config gatepass.toml");
    let gatepass = Gatepass::start_in(directory, &line).ready().await;
    assert_eq!(
        gatepass.wait_for_event("new token")["usable_seconds"],
        3_599
    );
    // The time asleep is looked up once a second.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let status = get(gatepass.admin(), "/api/status").await;
    let status: Value = serde_json::from_str(status.body()).unwrap();
    let left = status["credentials"][0]["ends_in_seconds"]
        .as_f64()
        .unwrap();
    assert!((3_580.0..3_598.0).contains(&left), "{left}");
    assert_eq!(provider.count(), 1);
    assert!(!gatepass.output().contains("was asleep"));
}
