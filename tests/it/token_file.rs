//! Tokens that somebody else writes into a file.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::support::{Gatepass, Upstream, get, within};

fn config(file: &Path, upstream: &Upstream) -> String {
    format!(
        "[credentials.pod]\ntoken_file = \"{}\"\n[[routes]]\npath = \"/\"\nupstream = \"{}\"\n\
         credential = \"pod\"\n",
        file.display(),
        upstream.origin()
    )
}

/// A JWT that ends so many seconds from now.
fn jwt(seconds: i64) -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "what others write has their clock"
    )]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let ends = i64::try_from(now.as_secs()).unwrap() + seconds;
    let claims = BASE64_URL_SAFE_NO_PAD.encode(format!(r#"{{"exp":{ends}}}"#));
    format!("canary.{claims}.sig")
}

/// As Kubernetes does it: all at once.
fn replace(file: &Path, content: &str) {
    let beside = file.with_extension("next");
    fs::write(&beside, content).unwrap();
    fs::rename(beside, file).unwrap();
}

async fn sent(gatepass: &Gatepass, upstream: &Upstream) -> String {
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    upstream.last().all("authorization")[0].to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_that_of_the_file_and_follows_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    let upstream = Upstream::start().await;
    // It may be written later than gatepass starts.
    let gatepass = Gatepass::start(&config(&file, &upstream));
    gatepass.output_with("does not exist; have whoever renews it write a token there");
    let first = jwt(3_600);
    replace(&file, &format!("{first}\n"));
    gatepass.wait_for_probe("/readyz").await;
    assert_eq!(sent(&gatepass, &upstream).await, format!("Bearer {first}"));

    let second = jwt(7_200);
    replace(&file, &second);
    let generation = r#"gatepass_token_refreshes_total{credential="pod",outcome="success"}"#;
    gatepass.wait_for_metric(generation, 2.0).await;
    assert_eq!(sent(&gatepass, &upstream).await, format!("Bearer {second}"));

    // Something that cannot be used takes nothing away.
    replace(&file, "no token\u{7}");
    gatepass.output_with("the token at hand stays in use");
    assert_eq!(sent(&gatepass, &upstream).await, format!("Bearer {second}"));
}

/// Whoever renews it may be late, and gatepass looks all the time.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_nobody_has_renewed_is_no_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    let first = jwt(3_600);
    fs::write(&file, &first).unwrap();
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&config(&file, &upstream)).ready().await;
    let looks = r#"gatepass_token_refreshes_total{credential="pod",outcome="success"}"#;
    for look in [2.0, 3.0] {
        gatepass.order_refresh("pod").await;
        gatepass.wait_for_metric(looks, look).await;
    }
    replace(&file, &jwt(7_200));
    gatepass.wait_for_metric(looks, 4.0).await;
    let output = gatepass.output();
    assert_eq!(output.matches("\"new token\"").count(), 2, "{output}");
    let generation = r#"gatepass_token_generation{credential="pod"}"#;
    gatepass.wait_for_metric(generation, 2.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_over_is_not_sent() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    fs::write(&file, jwt(-10)).unwrap();
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&config(&file, &upstream));
    gatepass.wait_for_probe("/startupz").await;
    let answer = get(gatepass.proxy(), "/").await;
    assert_eq!(answer.status(), 503);
    assert!(
        answer.body().contains("is over already"),
        "{}",
        answer.body()
    );
    assert_eq!(upstream.requests(), 0);

    // One that ends while nobody renews it is taken away in time.
    replace(&file, &jwt(4));
    gatepass.wait_for_probe("/readyz").await;
    is_taken_away_within(Duration::from_secs(5), &gatepass).await;
}

/// The token is not sent beyond its end.
async fn is_taken_away_within(limit: Duration, gatepass: &Gatepass) {
    within(limit, "it is taken away", async || {
        get(gatepass.proxy(), "/").await.status() != 200
    })
    .await;
}

/// What the file says of its token was true when it was written.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_kept_in_a_file_ends_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    fs::write(&file, r#"{"access_token":"canary-opaque","expires_in":3}"#).unwrap();
    let upstream = Upstream::start().await;
    let keys = "[credentials.pod]\ntoken_field = \"access_token\"";
    let config = config(&file, &upstream).replace("[credentials.pod]", keys);
    let gatepass = Gatepass::start(&config).ready().await;
    assert_eq!(sent(&gatepass, &upstream).await, "Bearer canary-opaque");
    gatepass.output_with("is over already");
    is_taken_away_within(Duration::from_secs(4), &gatepass).await;
}
