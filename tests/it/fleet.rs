//! Several processes that are one client: they share their tokens in files of one machine.

mod sessions;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::authorization_server::TokenRequest;
use crate::support::fleet::{FAILING, KEY, LEASE, Stage, TAKEN_OVER};
use crate::support::gatepass::run;
use crate::support::{CANARY, Gatepass, Reply, eventually, get};

const OTHER_KEY: &str = "HwECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// Several processes of one machine, and the directory in which they share.
struct Machine(Stage);

impl Deref for Machine {
    type Target = Stage;

    fn deref(&self) -> &Stage {
        &self.0
    }
}

impl Machine {
    async fn new() -> Self {
        let machine = Self(Stage::new().await);
        fs::create_dir(machine.tokens()).unwrap();
        machine
    }

    fn tokens(&self) -> PathBuf {
        self.directory.path().join("tokens")
    }

    fn config(&self, credential: &str) -> String {
        // A busy machine is not what these tests are about.
        let store = format!(
            "kind = \"file\"\ndirectory = \"{}\"\ntimeout = \"10s\"",
            self.tokens().display()
        );
        self.0.config(&store, credential)
    }

    async fn start(&self) -> Gatepass {
        Gatepass::start(&self.config("")).ready().await
    }

    fn entries(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.tokens()).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        // Locks have an ending, and so has what one that was stopped was about to put in place.
        paths.filter(|path| path.extension().is_none()).collect()
    }
}

/// What the status says of the credential.
async fn credential(gatepass: &Gatepass) -> serde_json::Value {
    let status = get(gatepass.admin(), "/api/status").await;
    let status: serde_json::Value = serde_json::from_str(status.body()).unwrap();
    status["credentials"][0].clone()
}

/// One that is alone has nobody else to speak of.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_failed_waits_as_all_do_and_is_not_told_so_by_itself() {
    let stage = Machine::new().await;
    stage.provider.otherwise(Reply::Json(503, "{}".into()));
    let gatepass = Gatepass::start(&stage.config(""));
    stage.provider.wait_for_requests(4).await;
    let output = gatepass.output();
    assert!(!output.contains("another replica"), "{output}");
}

const SUCCESSES: &str = r#"gatepass_token_refreshes_total{credential="envase",outcome="success"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn processes_of_one_machine_ask_once_and_so_do_those_after_them() {
    let stage = Machine::new().await;
    stage.provider.think_for(Duration::from_millis(300));
    let config = stage.config("");
    let mut fleet = Vec::new();
    for _ in 0..5 {
        fleet.push(Gatepass::start(&config));
    }
    for gatepass in &fleet {
        gatepass.wait_for_probe("/readyz").await;
        assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    }
    assert_eq!(stage.provider.count(), 1);
    let mut taken_over = 0.0;
    for gatepass in &fleet {
        taken_over += gatepass.metric(TAKEN_OVER).await;
    }
    assert_eq!(taken_over, 4.0);
    let mut refreshers = BTreeSet::new();
    let mut origins = Vec::new();
    for gatepass in &fleet {
        let status = credential(gatepass).await;
        refreshers.insert(status["refreshed_by"].as_str().unwrap().to_owned());
        origins.push(status["token_from"].as_str().unwrap().to_owned());
    }
    assert_eq!(refreshers.len(), 1, "all know who asked: {refreshers:?}");
    let own = async |gatepass| credential(gatepass).await["replica"].clone();
    let mut names = BTreeSet::new();
    for gatepass in &fleet {
        names.insert(own(gatepass).await.as_str().unwrap().to_owned());
    }
    assert_eq!(names.len(), fleet.len(), "each has a name: {names:?}");
    assert!(names.is_superset(&refreshers));
    let taken = origins.iter().position(|origin| origin == "store").unwrap();
    let admin = fleet[taken].admin().to_string();
    let shown =
        tokio::task::spawn_blocking(move || run(&["status", "--admin-listen", &admin], &[]));
    let shown = shown.await.unwrap().stdout;
    let said = format!("store, got by {}", refreshers.first().unwrap());
    assert!(shown.contains(&said), "{shown}");
    origins.sort_unstable();
    assert_eq!(origins, ["provider", "store", "store", "store", "store"]);

    drop(fleet);
    let gatepass = stage.start().await;
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    assert_eq!(stage.provider.count(), 1);
    assert_eq!(stage.upstream.bad_tokens(), Vec::<String>::new());

    let entries = stage.entries();
    let [entry] = entries.as_slice() else {
        panic!("one file, not {entries:?}");
    };
    let mode = fs::metadata(entry).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let content = String::from_utf8_lossy(&fs::read(entry).unwrap()).into_owned();
    assert!(!content.contains(CANARY), "{content}");
}

/// Some providers have no other word for "never".
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_lives_beyond_all_measure_is_shared_as_any_other() {
    let stage = Machine::new().await;
    let words = r#"{"access_token":"TOKEN","expires_in":9223372036854775807}"#;
    stage
        .provider
        .otherwise(Reply::Words(3_600.0, words.into()));
    let fleet = [stage.start().await, stage.start().await];
    for gatepass in &fleet {
        assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    }
    assert_eq!(stage.provider.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_one_of_them_renews_is_all_of_theirs() {
    let stage = Machine::new().await;
    let (one, other) = (stage.start().await, stage.start().await);
    for successes in [2.0, 3.0] {
        stage.provider.introspection().revoke_all();
        one.order_refresh("envase").await;
        one.wait_for_metric(SUCCESSES, successes).await;
    }
    // The other's token is over. It gets a 401 for it, finds a newer one, and asks nobody.
    stage
        .upstream
        .refuse(crate::support::upstream::Refusal::OfBadTokens("Bearer"));
    assert_eq!(get(other.proxy(), "/").await.status(), 200);
    assert_eq!(stage.provider.count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_is_killed_holds_the_others_up_for_its_turn_only() {
    let stage = Machine::new().await;
    stage.provider.plan([Reply::Silence]);
    let holder = Gatepass::start(&stage.config(""));
    stage.provider.wait_for_requests(1).await;
    assert_eq!(holder.metric(LEASE).await, 1.0);
    drop(holder);
    let gatepass = stage.start().await;
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    assert_eq!(
        stage.provider.count(),
        2,
        "one for the life, one for the dead"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_is_stopped_changes_nothing_when_it_wakes() {
    let stage = Machine::new().await;
    stage.provider.think_for(Duration::from_millis(500));
    let holder = Gatepass::start(&stage.config(""));
    stage.provider.wait_for_requests(1).await;
    holder.signal(Signal::STOP);
    let others = [stage.start().await, stage.start().await];
    assert_eq!(stage.provider.count(), 2);
    let before = fs::read(&stage.entries()[0]).unwrap();
    holder.signal(Signal::CONT);
    let holder = holder.ready().await;
    holder.output_with("another replica has got one meanwhile");
    assert_eq!(fs::read(&stage.entries()[0]).unwrap(), before);
    for gatepass in others.iter().chain([&holder]) {
        assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    }
    assert_eq!(stage.upstream.bad_tokens(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_no_help_costs_no_request() {
    let stage = Machine::new().await;
    let gatepass = stage.start().await;
    fs::remove_dir_all(stage.tokens()).unwrap();
    gatepass.order_refresh("envase").await;
    stage.provider.wait_for_requests(2).await;
    gatepass.output_with("this replica asks the provider by itself");
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    assert_eq!(gatepass.metric(FAILING).await, 1.0);
    let ready = get(gatepass.admin(), "/readyz").await;
    assert_eq!(ready.status(), 200);
    let said = "credential \"envase\" shares no tokens: the store in the directory";
    assert!(ready.body().contains(said), "{}", ready.body());
    let status = credential(&gatepass).await;
    let trouble = status["store_trouble"].as_str().unwrap();
    assert!(trouble.contains("is no help"), "{trouble}");
    fs::create_dir(stage.tokens()).unwrap();
    gatepass.order_refresh("envase").await;
    gatepass.output_with("the store is there again");
    gatepass.wait_for_metric(FAILING, 0.0).await;
    let ready = get(gatepass.admin(), "/readyz").await;
    assert!(
        !ready.body().contains("shares no tokens"),
        "{}",
        ready.body()
    );
    assert!(credential(&gatepass).await["store_trouble"].is_null());
    stage.provider.wait_for_requests(3).await;
}

/// The one that goes has its say no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_no_help_is_none_to_a_changed_credential() {
    let stage = Machine::new().await;
    let gatepass = stage.start().await;
    fs::remove_dir_all(stage.tokens()).unwrap();
    gatepass.order_refresh("envase").await;
    gatepass.wait_for_metric(FAILING, 1.0).await;
    gatepass.reload(&stage.config("timeout = \"9s\"")).await;
    assert_eq!(gatepass.metric(FAILING).await, 1.0);
    let ready = get(gatepass.admin(), "/readyz").await;
    assert!(
        ready.body().contains("shares no tokens"),
        "{}",
        ready.body()
    );
}

/// A volume that is mounted late, or read-only.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_not_there_at_the_start_is_no_condition() {
    let stage = Machine::new().await;
    let tokens = stage.tokens();
    fs::remove_dir(&tokens).unwrap();
    let gatepass = stage.start().await;
    gatepass.output_with("stores.fleet.directory: the store in the directory");
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    let ready = get(gatepass.admin(), "/readyz").await;
    assert!(
        ready.body().contains("shares no tokens"),
        "{}",
        ready.body()
    );
    fs::create_dir(&tokens).unwrap();
    gatepass.order_refresh("envase").await;
    gatepass.wait_for_metric(FAILING, 0.0).await;
    assert_eq!(stage.entries().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_broken_is_replaced_and_what_another_key_has_sealed_is_not() {
    let stage = Machine::new().await;
    drop(stage.start().await);
    let entry = stage.entries().remove(0);
    fs::write(&entry, "garbage").unwrap();
    let gatepass = stage.start().await;
    gatepass.output_with("is broken, and is written anew");
    drop(gatepass);
    assert_eq!(stage.provider.count(), 2);

    let sealed = fs::read(&entry).unwrap();
    fs::write(stage.directory.path().join("key"), OTHER_KEY).unwrap();
    let gatepass = stage.start().await;
    gatepass.output_with("a key that is not in this replica's key_file");
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    assert_eq!(stage.provider.count(), 3);
    assert_eq!(fs::read(&entry).unwrap(), sealed);

    // The old key comes back as the second.
    let both = format!("{OTHER_KEY}\n{KEY}\n");
    fs::write(stage.directory.path().join("key"), both).unwrap();
    let again = stage.start().await;
    assert_eq!(get(again.proxy(), "/").await.status(), 200);
    assert_eq!(stage.provider.count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_with_other_settings_share_nothing() {
    let stage = Machine::new().await;
    drop(stage.start().await);
    let other = stage.config("scope = \"other\"");
    drop(Gatepass::start(&other).ready().await);
    // A new secret is still the same client.
    let same = stage.config("").replace("canary-secret", "canary-new");
    drop(Gatepass::start(&same).ready().await);
    assert_eq!(stage.provider.count(), 2);
    assert_eq!(stage.entries().len(), 2);
}

const ROTATING: &str =
    r#"{"access_token":"TOKEN","token_type":"Bearer","expires_in":3600,"refresh_token":"REFRESH"}"#;

const PASSWORD: &str = r#"
    grant_type = "password"
    username = "clerk"
    password = "canary-password""#;

fn asked(request: &TokenRequest) -> String {
    let refresh_token = request.parameter("refresh_token");
    refresh_token.unwrap_or_else(|| request.parameter("grant_type").unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_refresh_token_is_used_twice_whoever_uses_it() {
    let stage = Machine::new().await;
    stage
        .provider
        .otherwise(Reply::Words(3_600.0, ROTATING.into()));
    let config = stage.config(PASSWORD);
    let mut fleet = Vec::new();
    for _ in 0..3 {
        fleet.push(Gatepass::start(&config).ready().await);
    }
    for round in 0..4 {
        let gatepass = &fleet[round % 3];
        let before = stage.provider.count();
        // The first order finds what another has got, and the second asks.
        eventually("the provider is asked", async || {
            gatepass.order_refresh("envase").await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            stage.provider.count() > before
        })
        .await;
        gatepass.wait_for_metric(LEASE, 0.0).await;
    }
    let asked: Vec<_> = stage.provider.requests().iter().map(asked).collect();
    assert_eq!(asked[0], "password");
    let used: BTreeSet<_> = asked[1..].iter().collect();
    assert_eq!(used.len(), asked.len() - 1, "{asked:?}");
    assert!(
        asked[1..]
            .iter()
            .all(|asked| asked.starts_with("canary-refresh-")),
        "{asked:?}"
    );
}

/// A disk that is slow for a while keeps the lock of whoever writes to it just as long.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_disk_is_waited_for_as_long_as_the_store_may_take() {
    let stage = Machine::new().await;
    stage
        .provider
        .otherwise(Reply::Words(3_600.0, ROTATING.into()));
    let gatepass = Gatepass::start(&stage.config(PASSWORD)).ready().await;
    let lock = stage.entries()[0].with_extension("lock");
    let lock = File::open(lock).unwrap();
    lock.lock().unwrap();
    gatepass.order_refresh("envase").await;
    // Longer than a call to a store may take by default: this one may take 10 s.
    tokio::time::sleep(Duration::from_secs(3)).await;
    lock.unlock().unwrap();
    stage.provider.wait_for_requests(2).await;
    let asked: Vec<_> = stage.provider.requests().iter().map(asked).collect();
    assert_eq!(asked, ["password", "canary-refresh-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_of_a_fleet_lists_what_is_served() {
    let stage = Machine::new().await;
    let gatepass = stage.start().await;
    let metrics = get(gatepass.admin(), "/metrics").await.into_body();
    let page = crate::support::gatepass::project().join("docs/metrics.md");
    let page = fs::read_to_string(page).unwrap();
    let table = page.split("\n| fleet metric |").nth(1).unwrap();
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let mut names = 0;
    for row in rows {
        let name = row.split('`').nth(1).unwrap();
        assert!(metrics.contains(&format!("\n{name}{{")), "{name}");
        names += 1;
    }
    assert_eq!(names, 7);
}
