//! Waiting for what comes, with a bound.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::server::post;
use crate::support::Gatepass;
use crate::support::client::PATIENCE;

/// Waits until something holds.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("{what}: not in time"));
}

/// Orders a new token as an operator would, and waits until it is there.
pub async fn renew(gatepass: &Gatepass, credential: &str) {
    let successes = format!(
        "gatepass_token_refreshes_total{{credential=\"{credential}\",outcome=\"success\"}}"
    );
    let before = gatepass.metric(&successes).await;
    order_refresh(gatepass, credential).await;
    gatepass.wait_for_metric(&successes, before + 1.0).await;
}

/// Orders a new token as an operator would.
pub async fn order_refresh(gatepass: &Gatepass, credential: &str) {
    let path = format!("/api/credentials/{credential}/refresh");
    assert_eq!(post(gatepass.admin(), &path).await.status(), 202);
}

/// The only line of the log with this in it.
pub fn the_line_with(gatepass: &Gatepass, wanted: &str) -> String {
    let output = gatepass.output_with(wanted);
    let lines: Vec<_> = output
        .lines()
        .filter(|line| line.contains(wanted))
        .collect();
    let [line] = lines.as_slice() else {
        panic!("{} lines with {wanted}:\n{}", lines.len(), lines.join("\n"));
    };
    (*line).to_owned()
}
