//! Refresh tokens that are used up while the store has no other, or has one again.

use super::*;

struct Handed {
    machine: Machine,
    grant: String,
}

impl Handed {
    /// Nobody can sign in again with a refresh token that is used up, as after a login.
    async fn new() -> Self {
        let machine = Machine::new().await;
        machine
            .provider
            .otherwise(Reply::Words(3_600.0, ROTATING.into()));
        let given = machine.directory.path().join("given");
        fs::write(&given, "canary-given").unwrap();
        let grant = format!(
            "grant_type = \"refresh_token\"\nrefresh_token_file = \"{}\"\ntimeout = \"4s\"",
            given.display()
        );
        Self { machine, grant }
    }

    fn config(&self) -> String {
        self.machine.config(&self.grant)
    }

    fn asked(&self) -> Vec<String> {
        self.machine.provider.requests().iter().map(asked).collect()
    }

    /// Orders a refresh, and does this while the provider thinks about it.
    async fn refresh_and_meanwhile(&self, gatepass: &Gatepass, act: impl FnOnce()) {
        let provider = &self.machine.provider;
        let before = provider.count();
        provider.think_for(Duration::from_millis(500));
        gatepass.order_refresh("envase").await;
        provider.wait_for_requests(before + 1).await;
        provider.think_for(Duration::ZERO);
        act();
    }
}

const NOT_STORED: &str = "no other replica can go on with this session";
const STORED: &str = "the store has the refresh token now";

/// A Redis that starts again, a volume that is gone for a moment.
#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_stored_is_stored_as_soon_as_it_can_be() {
    let handed = Handed::new().await;
    let tokens = handed.machine.tokens();
    let away = tokens.with_extension("away");
    let gatepass = Gatepass::start(&handed.config()).ready().await;
    let take_away = || fs::rename(&tokens, &away).unwrap();
    handed.refresh_and_meanwhile(&gatepass, take_away).await;
    gatepass.output_with(NOT_STORED);
    gatepass.wait_for_metric(SUCCESSES, 2.0).await;
    fs::rename(&away, &tokens).unwrap();
    gatepass.output_with(STORED);
    drop(gatepass);

    let gatepass = Gatepass::start(&handed.config()).ready().await;
    gatepass.order_refresh("envase").await;
    handed.machine.provider.wait_for_requests(3).await;
    assert_eq!(
        handed.asked(),
        ["canary-given", "canary-refresh-1", "canary-refresh-2"]
    );
}

/// Another one takes the refresh token that is used up, and has it refused. Neither does it show the
/// given one, nor does it take from the store what follows.
#[tokio::test(flavor = "multi_thread")]
async fn one_replica_without_the_store_does_not_end_the_session_of_all() {
    let handed = Handed::new().await;
    let tokens = handed.machine.tokens();
    let link = tokens.with_extension("link");
    let join = || std::os::unix::fs::symlink(&tokens, &link).unwrap();
    join();
    let directory = |path: &PathBuf| format!("directory = \"{}\"", path.display());
    let config = handed.config();
    let by_link = config.replace(&directory(&tokens), &directory(&link));
    let one = Gatepass::start(&by_link).ready().await;
    let other = Gatepass::start(&config).ready().await;
    let part = || fs::remove_file(&link).unwrap();
    handed.refresh_and_meanwhile(&one, part).await;
    one.output_with(NOT_STORED);

    let provider = &handed.machine.provider;
    let refusal = r#"{"error":"invalid_grant"}"#;
    provider.otherwise(Reply::Json(400, refusal.into()));
    other.order_refresh("envase").await;
    other.output_with("get a new refresh token");
    join();
    one.output_with(STORED);
    provider.otherwise(Reply::Words(3_600.0, ROTATING.into()));
    // All wait for a while after a failure.
    eventually("the session goes on", async || {
        other.order_refresh("envase").await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        other.metric(SUCCESSES).await >= 2.0
    })
    .await;
    let mut asked = handed.asked();
    asked.dedup();
    assert_eq!(
        asked,
        ["canary-given", "canary-refresh-1", "canary-refresh-2"]
    );
}

/// As a Redis does whose place is taken by one that had not yet heard of it all.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_falls_back_brings_back_no_refresh_token_that_is_used_up() {
    let handed = Handed::new().await;
    let gatepass = Gatepass::start(&handed.config()).ready().await;
    let entry = handed.machine.entries().remove(0);
    let before = fs::read(&entry).unwrap();
    gatepass.order_refresh("envase").await;
    gatepass.wait_for_metric(SUCCESSES, 2.0).await;
    fs::write(&entry, before).unwrap();
    gatepass.order_refresh("envase").await;
    gatepass.wait_for_metric(SUCCESSES, 3.0).await;
    assert_eq!(
        handed.asked(),
        ["canary-given", "canary-refresh-1", "canary-refresh-2"]
    );
}

/// One that was taken and not come back with may be used up: there is a password for that.
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_of_a_holder_that_was_killed_is_not_used_again() {
    let stage = Machine::new().await;
    stage
        .provider
        .otherwise(Reply::Words(3_600.0, ROTATING.into()));
    let config = stage.config(&format!("{PASSWORD}\ntimeout = \"1s\""));
    let holder = Gatepass::start(&config).ready().await;
    stage.provider.plan([Reply::Silence]);
    holder.order_refresh("envase").await;
    stage.provider.wait_for_requests(2).await;
    drop(holder);
    let gatepass = Gatepass::start(&config).ready().await;
    gatepass.order_refresh("envase").await;
    stage.provider.wait_for_requests(3).await;
    let asked: Vec<_> = stage.provider.requests().iter().map(asked).collect();
    assert_eq!(asked, ["password", "canary-refresh-1", "password"]);
}
