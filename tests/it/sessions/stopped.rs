//! A gatepass that is stopped for a while, as by Ctrl-Z or `docker pause`.

use std::time::Duration;

use rustix::process::Signal;
use tokio::time::sleep;

use super::{PASSWORD, SUCCESSES, Stage, refresh_now};

/// Where a refresh token is good for one use, the session would be lost with the answer.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_came_while_gatepass_was_stopped_is_taken() {
    let stage = Stage::new().await;
    let gatepass = stage.start(&format!("{PASSWORD}\ntimeout = \"1s\"")).await;
    stage.provider.think_for(Duration::from_millis(500));
    refresh_now(&gatepass, &stage.provider).await;
    gatepass.signal(Signal::STOP);
    sleep(Duration::from_millis(1_500)).await;
    gatepass.signal(Signal::CONT);
    gatepass.wait_for_metric(SUCCESSES, 2.0).await;
    assert_eq!(stage.provider.count(), 2, "{:?}", stage.asked());
}
