//! What `run` says before anybody has logged in.

use super::place::Place;
use crate::support::{Gatepass, get, problem};

#[tokio::test(flavor = "multi_thread")]
async fn each_attempt_says_that_nobody_has_logged_in_and_which_command_does() {
    let place = Place::new("authorization_code").await;
    let gatepass = Gatepass::start(&place.config());
    gatepass.wait_for_probe("/startupz").await;
    let failures = r#"gatepass_token_refreshes_total{credential="clerk",outcome="refused"}"#;
    for attempt in [1.0, 2.0, 3.0] {
        gatepass.wait_for_metric(failures, attempt).await;
        let why = problem(&get(gatepass.proxy(), "/").await);
        let detail = why["detail"].as_str().unwrap();
        for part in ["nobody has logged in yet", "run `gatepass login clerk`"] {
            assert!(detail.contains(part), "{attempt}: {detail}");
        }
        gatepass.order_refresh("clerk").await;
    }
    // Another process of the same machine has nothing to wait for either.
    let second = Gatepass::start(&place.config());
    second.wait_for_metric(failures, 1.0).await;
    for output in [gatepass.output(), second.output()] {
        assert!(!output.contains("another replica"), "{output}");
    }
}
