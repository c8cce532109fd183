//! Refresh tokens between two sign-ins: rotated, saved before use, continued by the next process,
//! and given up when the provider takes them no longer.

mod changed;
mod odd_files;
mod stopped;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::authorization_server::TokenRequest;
use crate::support::{AuthorizationServer, Gatepass, Reply, Upstream, eventually, get};

const ROTATING: &str =
    r#"{"access_token":"TOKEN","token_type":"Bearer","expires_in":3600,"refresh_token":"REFRESH"}"#;

struct Stage {
    provider: AuthorizationServer,
    upstream: Upstream,
    directory: TempDir,
}

impl Stage {
    async fn new() -> Self {
        let provider = AuthorizationServer::start();
        provider.otherwise(Reply::Words(3_600.0, ROTATING.into()));
        let upstream = Upstream::start().await;
        upstream.check_tokens(provider.introspection());
        Self {
            provider,
            upstream,
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn session_file(&self) -> std::path::PathBuf {
        self.directory.path().join("session")
    }

    fn config(&self, grant: &str) -> String {
        format!(
            r#"
            [credentials.clerk]
            {grant}
            token_endpoint = "{}"
            client_id = "tms"
            client_secret = "canary-secret"
            session_file = "{}"

            [[routes]]
            path = "/"
            upstream = "{}"
            credential = "clerk"
            "#,
            self.provider.token_endpoint(),
            self.session_file().display(),
            self.upstream.origin(),
        )
    }

    /// A client that asks for itself, with its secret in a file.
    fn config_with_secret_file(&self, secret: &Path) -> String {
        let config = self.config("").replace(
            "client_secret = \"canary-secret\"",
            &format!("client_secret_file = \"{}\"", secret.display()),
        );
        let lines = config.lines().filter(|line| !line.contains("session_file"));
        lines.collect::<Vec<_>>().join("\n")
    }

    async fn start(&self, grant: &str) -> Gatepass {
        Gatepass::start(&self.config(grant)).ready().await
    }

    /// What was asked for: the grant, and the refresh token if there was one.
    fn asked(&self) -> Vec<String> {
        self.provider.requests().iter().map(asked).collect()
    }
}

fn asked(request: &TokenRequest) -> String {
    let refresh_token = request.parameter("refresh_token");
    refresh_token.unwrap_or_else(|| request.parameter("grant_type").unwrap())
}

async fn refresh_now(gatepass: &Gatepass, provider: &AuthorizationServer) {
    let before = provider.count();
    gatepass.order_refresh("clerk").await;
    provider.wait_for_requests(before + 1).await;
}

fn saved(path: &Path) -> String {
    let session: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    session["refresh_token"].as_str().unwrap().to_owned()
}

const PASSWORD: &str = r#"
    grant_type = "password"
    username = "clerk"
    password = "canary-password""#;

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_continued_by_the_next_process() {
    let stage = Stage::new().await;
    let gatepass = stage.start(PASSWORD).await;
    refresh_now(&gatepass, &stage.provider).await;
    gatepass.wait_for_metric(SUCCESSES, 2.0).await;
    drop(gatepass);
    let mode = fs::metadata(stage.session_file())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let gatepass = stage.start(PASSWORD).await;
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    assert_eq!(
        stage.asked(),
        ["password", "canary-refresh-1", "canary-refresh-2"]
    );
    assert_eq!(saved(&stage.session_file()), "canary-refresh-3");
    assert_eq!(stage.upstream.bad_tokens(), Vec::<String>::new());
}

/// A process that dies between the two must find the refresh token that the provider counts on. So
/// it is there at the moment at which the first request arrives with the access token.
#[tokio::test(flavor = "multi_thread")]
async fn the_new_refresh_token_is_saved_before_the_access_token_is_used() {
    let stage = Stage::new().await;
    let upstream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", upstream.local_addr().unwrap());
    let config = stage
        .config(PASSWORD)
        .replace(&stage.upstream.origin(), &origin);
    let session_file = stage.session_file();
    let seen = tokio::task::spawn_blocking(move || {
        let arrived = upstream.accept().unwrap();
        let there = saved(&session_file);
        drop(arrived);
        there
    });
    stage.provider.think_for(Duration::from_millis(200));
    let gatepass = Gatepass::start(&config);
    // The moment at which the token can be used must not be missed.
    while !seen.is_finished() {
        assert_ne!(get(gatepass.proxy(), "/").await.status(), 200);
    }
    assert_eq!(seen.await.unwrap(), "canary-refresh-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_refresh_token_signs_in_again_without_a_gap() {
    let stage = Stage::new().await;
    let gatepass = stage.start(PASSWORD).await;
    let refusal = r#"{"error":"invalid_grant","error_description":"expired"}"#;
    stage.provider.plan([Reply::Json(400, refusal.into())]);
    refresh_now(&gatepass, &stage.provider).await;
    gatepass.wait_for_metric(SUCCESSES, 2.0).await;
    assert_eq!(stage.asked(), ["password", "canary-refresh-1", "password"]);
    assert_eq!(
        gatepass.metric(REFUSED).await,
        0.0,
        "one attempt, and it succeeded"
    );
    assert_eq!(saved(&stage.session_file()), "canary-refresh-2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_in_trouble_does_not_end_the_session() {
    let stage = Stage::new().await;
    let gatepass = stage.start(PASSWORD).await;
    let throttled = r#"{"error":{"message":"TOO_MANY_ATTEMPTS_TRY_LATER"}}"#;
    stage.provider.plan([
        Reply::Json(503, "{}".into()),
        Reply::Json(401, r#"{"error":"invalid_client"}"#.into()),
        Reply::Json(400, throttled.into()),
        Reply::Json(404, r#"{"status":404,"error":"Not Found"}"#.into()),
        Reply::HangUp,
    ]);
    eventually("the trouble passes", async || {
        gatepass.order_refresh("clerk").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        gatepass.metric(SUCCESSES).await >= 2.0
    })
    .await;
    let asked = stage.asked();
    assert_eq!(asked[0], "password");
    assert!(asked.len() >= 7, "{asked:?}");
    assert!(
        asked[1..].iter().all(|asked| asked == "canary-refresh-1"),
        "{asked:?}"
    );
}

/// Not every provider has a word for a refresh token that is over.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_without_a_clear_word_lead_to_the_password_in_the_end() {
    for (status, strange) in [
        (400, r#"{"error":"session_gone"}"#),
        (200, r#"{"status":"KO","message":"session gone"}"#),
    ] {
        let stage = Stage::new().await;
        let gatepass = stage.start(PASSWORD).await;
        stage
            .provider
            .plan((0..3).map(|_| Reply::Json(status, strange.into())));
        for _ in 0..3 {
            refresh_now(&gatepass, &stage.provider).await;
        }
        stage.provider.wait_for_requests(5).await;
        let refresh = "canary-refresh-1";
        assert_eq!(
            stage.asked(),
            ["password", refresh, refresh, refresh, "password"]
        );
    }
}

/// In a row: what was refused once a week, and taken in between, is good.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_that_a_success_has_followed_are_forgotten() {
    let stage = Stage::new().await;
    let gatepass = stage.start(PASSWORD).await;
    let strange = || Reply::Json(403, "{}".into());
    let without_another = || Reply::Token(3_600.0);
    stage
        .provider
        .plan((0..3).flat_map(|_| [strange(), without_another()]));
    for _ in 0..6 {
        refresh_now(&gatepass, &stage.provider).await;
    }
    gatepass.wait_for_metric(SUCCESSES, 4.0).await;
    let asked = stage.asked();
    assert_eq!(asked[0], "password");
    assert_eq!(asked[1..], ["canary-refresh-1"; 6]);
}

/// It is the client that is refused, however often: its session may be as good as ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_refused_keeps_its_session() {
    let stage = Stage::new().await;
    let gatepass = stage.start(PASSWORD).await;
    let refusal = r#"{"error":"invalid_client"}"#;
    stage
        .provider
        .plan((0..3).map(|_| Reply::Json(401, refusal.into())));
    for _ in 0..4 {
        refresh_now(&gatepass, &stage.provider).await;
    }
    gatepass.wait_for_metric(SUCCESSES, 2.0).await;
    let asked = stage.asked();
    assert_eq!(asked[0], "password");
    assert_eq!(asked[1..], ["canary-refresh-1"; 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_a_refresh_token_leaves_the_one_before_in_force() {
    let stage = Stage::new().await;
    let gatepass = stage.start(PASSWORD).await;
    stage.provider.otherwise(Reply::Token(3_600.0));
    for _ in 0..2 {
        refresh_now(&gatepass, &stage.provider).await;
    }
    assert_eq!(
        stage.asked(),
        ["password", "canary-refresh-1", "canary-refresh-1"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_another_user_is_not_continued() {
    let stage = Stage::new().await;
    drop(stage.start(PASSWORD).await);
    let another = PASSWORD.replace("clerk", "boss");
    drop(stage.start(&another).await);
    assert_eq!(stage.asked(), ["password", "password"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_written_costs_no_request() {
    let stage = Stage::new().await;
    let gatepass = Gatepass::start(&stage.config(PASSWORD)).ready().await;
    fs::remove_dir_all(stage.directory.path()).unwrap();
    refresh_now(&gatepass, &stage.provider).await;
    gatepass.output_with("the session goes on, and ends with this process");
    gatepass.wait_for_metric(SUCCESSES, 2.0).await;
    refresh_now(&gatepass, &stage.provider).await;
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    assert_eq!(
        stage.asked(),
        ["password", "canary-refresh-1", "canary-refresh-2"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_is_given_and_those_that_follow_it_are_kept() {
    let stage = Stage::new().await;
    let given = stage.directory.path().join("given");
    fs::write(&given, "canary-given\n").unwrap();
    let grant = format!(
        "grant_type = \"refresh_token\"\nrefresh_token_file = \"{}\"",
        given.display()
    );
    drop(stage.start(&grant).await);
    let gatepass = stage.start(&grant).await;
    assert_eq!(stage.asked(), ["canary-given", "canary-refresh-1"]);

    // Another one that is given takes the place of the session, at the next refresh.
    fs::write(&given, "canary-given-anew\n").unwrap();
    refresh_now(&gatepass, &stage.provider).await;
    assert_eq!(stage.asked()[2], "canary-given-anew");
    gatepass.wait_for_metric(SUCCESSES, 2.0).await;

    // One that is refused is shown again: a provider may be mistaken, and takes it for a theft when
    // the given one, which it has replaced, is shown once more.
    let refusal = r#"{"error":"invalid_grant","error_description":"unheard of"}"#;
    stage.provider.plan([Reply::Json(400, refusal.into())]);
    refresh_now(&gatepass, &stage.provider).await;
    let told = gatepass.output_with("get a new refresh token from the provider");
    assert!(told.contains("unheard of"), "{told}");
    refresh_now(&gatepass, &stage.provider).await;
    gatepass.wait_for_metric(SUCCESSES, 3.0).await;
    assert_eq!(stage.asked()[3..], ["canary-refresh-3", "canary-refresh-3"]);
}

/// What a provider says when the client's secret is wrong must be heard again soon after it is put
/// right, however patiently it is asked meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_secret_is_tried_at_once() {
    let stage = Stage::new().await;
    let secret = stage.directory.path().join("secret");
    fs::write(&secret, "canary-old").unwrap();
    let config = stage.config_with_secret_file(&secret);
    let refusal = r#"{"error":"invalid_client"}"#;
    stage
        .provider
        .plan((0..3).map(|_| Reply::Json(401, refusal.into())));
    let gatepass = Gatepass::start(&config);
    stage.provider.wait_for_requests(1).await;
    let mut attempt = 1;
    let mut change = async || {
        attempt += 1;
        fs::write(secret.with_extension("next"), "canary-new").unwrap();
        fs::rename(secret.with_extension("next"), &secret).unwrap();
        stage.provider.wait_for_requests(attempt).await;
    };
    // The third wait would be longer than eight seconds.
    for _ in 0..3 {
        let soon = tokio::time::timeout(Duration::from_secs(4), change()).await;
        soon.expect("at once");
    }
    gatepass.wait_for_probe("/readyz").await;
}

/// Something that keeps rewriting its file must not hammer the provider.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_changes_all_the_time_is_tried_a_few_times_a_minute() {
    let stage = Stage::new().await;
    let secret = stage.directory.path().join("secret");
    fs::write(&secret, "canary-0").unwrap();
    let config = stage.config_with_secret_file(&secret);
    let refusal = r#"{"error":"invalid_client"}"#;
    stage.provider.otherwise(Reply::Json(401, refusal.into()));
    let _gatepass = Gatepass::start(&config);
    for change in 1..=100 {
        fs::write(&secret, format!("canary-{change}")).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let asked = stage.provider.count();
    assert!((4..=7).contains(&asked), "{asked} in 10 s");
}

const SUCCESSES: &str = r#"gatepass_token_refreshes_total{credential="clerk",outcome="success"}"#;
const REFUSED: &str = r#"gatepass_token_refreshes_total{credential="clerk",outcome="refused"}"#;
