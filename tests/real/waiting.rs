//! What a test against a server waits for.

use crate::support::Gatepass;

/// Orders a new token as an operator would, and waits until it is there.
pub async fn renew(gatepass: &Gatepass, credential: &str) {
    let successes = format!(
        "gatepass_token_refreshes_total{{credential=\"{credential}\",outcome=\"success\"}}"
    );
    let before = gatepass.metric(&successes).await;
    gatepass.order_refresh(credential).await;
    gatepass.wait_for_metric(&successes, before + 1.0).await;
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
