//! `gatepass exec -- COMMAND`

mod children;
mod signals;

use std::time::Duration;

use tokio::time::timeout;

use crate::support::client::PATIENCE;
use crate::support::gatepass::{Finished, run_with};
use crate::support::{AuthorizationServer, CANARY, Upstream, simple_config};

async fn exec(config: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Finished {
    let owned = |text: &&str| (*text).to_owned();
    let arguments: Vec<_> = ["exec"].iter().chain(arguments).map(owned).collect();
    let environment: Vec<_> = environment
        .iter()
        .map(|(name, value)| (owned(name), owned(value)))
        .collect();
    let config = config.to_owned();
    let running = tokio::task::spawn_blocking(move || {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let environment: Vec<_> = environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        run_with(&arguments, &[("gatepass.toml", &config)], &environment)
    });
    running.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_calls_through_the_proxy_and_gatepass_ends_with_it() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream);
    let script = "curl -sS --noproxy '*' -o /dev/null -w '%{http_code}\\n' \"$API_URL/orders\"; \
                  echo \"http_proxy=$http_proxy secret=$GATEPASS__CREDENTIALS__X__CLIENT_SECRET\" \
                  \"$OF_A_FIELD, $OF_NOBODY\"; \
                  exit 7";
    let secret = "GATEPASS__CREDENTIALS__X__CLIENT_SECRET";
    let config = format!(
        "[credentials.x]\ntoken_endpoint = \"{}\"\nclient_id = \"x\"\n{config}\n\
         headers = {{ x-api-key = {{ env = \"OF_A_FIELD\" }} }}",
        provider.token_endpoint()
    );
    let finished = exec(
        &config,
        &["--variable", "API_URL=/v1", "--", "sh", "-c", script],
        &[
            (secret, CANARY),
            ("OF_A_FIELD", CANARY),
            ("OF_NOBODY", "kept"),
            ("http_proxy", ""),
        ],
    )
    .await;
    assert_eq!(
        finished.stdout, "200\nhttp_proxy= secret= , kept\n",
        "{}",
        finished.stderr
    );
    assert_eq!(finished.code, Some(7), "that of the command");
    assert_eq!(finished.stderr, "");
    let seen = upstream.last();
    assert_eq!(seen.all("authorization").len(), 1);
    assert_eq!(upstream.requests(), 1);
}

/// It is for balancers that go on sending for a while, and none sends to the proxy of a command.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_shutdown_delay_after_the_command() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream);
    let config = format!("shutdown.delay = \"20s\"\n{config}");
    let running = exec(&config, &["--", "true"], &[]);
    let finished = timeout(Duration::from_secs(10), running).await;
    assert_eq!(finished.expect("at once").code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_the_proxy_is_the_command_s() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let host = "path = \"/\"\nhost = \"api.example\"";
    let config = simple_config(&provider, &upstream).replace("path = \"/\"", host);
    let script = "curl -sS -o /dev/null -w '%{http_code} ' http://api.example/orders; \
                  echo $NO_PROXY $no_proxy; \
                  test \"$HTTP_PROXY\" = \"$http_proxy\" && kill -TERM $$";
    let others = [("NO_PROXY", ""), ("no_proxy", "intranet.example")];
    let finished = exec(&config, &["--", "sh", "-c", script], &others).await;
    assert_eq!(finished.stdout, SERVED_AND_DIRECT, "{}", finished.stderr);
    assert_eq!(finished.code, Some(128 + 15), "a signal ended the command");
}

/// The status of a call, and the hosts for which no proxy is asked beside what the two variables named.
const SERVED_AND_DIRECT: &str =
    "200 localhost,127.0.0.1,::1 intranet.example,localhost,127.0.0.1,::1\n";

/// A proxy that a machine has for the world outside is not asked the way to gatepass.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_of_the_environment_does_not_come_between() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream);
    let script =
        "curl -sS -o /dev/null -w '%{http_code} ' \"$API/orders\"; echo $NO_PROXY $no_proxy";
    let nobody = "http://127.0.0.1:1";
    let others = [
        ("http_proxy", nobody),
        ("all_proxy", nobody),
        ("NO_PROXY", ""),
        ("no_proxy", "intranet.example"),
    ];
    let arguments = ["--variable", "API", "--", "sh", "-c", script];
    let finished = exec(&config, &arguments, &others).await;
    assert_eq!(finished.stdout, SERVED_AND_DIRECT, "{}", finished.stderr);
}

/// A limit beyond the usual one breaks programs that use `select`.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_may_open_as_many_files_as_without_gatepass() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gatepass.toml");
    std::fs::write(&file, simple_config(&provider, &upstream)).unwrap();
    // gatepass itself soon has all that it may have.
    let script = "ulimit -S -n; until grep -q 'open files *\\([0-9]*\\) *\\1 ' /proc/$PPID/limits; \
                  do sleep 0.01; done";
    let line = "ulimit -S -n 256; exec \"$0\" exec --config \"$1\" -- sh -c \"$2\"";
    let shell = tokio::process::Command::new("sh")
        .args(["-c", line, env!("CARGO_BIN_EXE_gatepass")])
        .arg(&file)
        .arg(script)
        .kill_on_drop(true)
        .output();
    let output = timeout(PATIENCE, shell).await.unwrap().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "256\n");
}

/// What speaks for callers on other ways is not needed on this one.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_other_listeners_is_no_mistake() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let tls = "[proxy]\nlisten = \"tls:127.0.0.1:8443\"\n\
               tls = { cert_file = \"proxy.crt\", key_file = \"proxy.key\" }\n";
    let config = format!("{tls}{}", simple_config(&provider, &upstream));
    let script = "curl -sS --noproxy '*' -o /dev/null -w '%{http_code}' \"$API\"";
    let arguments = ["--variable", "API", "--", "sh", "-c", script];
    let finished = exec(&config, &arguments, &[]).await;
    assert_eq!(finished.stdout, "200", "{}", finished.stderr);
    assert_eq!(finished.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_run_is_told() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream);
    // As a shell has it, not "something could not be had".
    let finished = exec(&config, &["--", "./gatepass.toml"], &[]).await;
    assert_eq!(finished.code, Some(126), "{}", finished.stderr);
    let finished = exec(&config, &["--", "./no-such-command"], &[]).await;
    assert_eq!(finished.code, Some(127));
    insta::assert_snapshot!(finished.stderr, @r#"
    gatepass: the command "./no-such-command" cannot be started
        why       No such file or directory (os error 2)
        next      see that it is there, and may be run
    "#);
    let down = AuthorizationServer::down();
    let config = simple_config(&down, &upstream);
    let finished = exec(&config, &["--timeout", "100ms", "--", "echo", "ran"], &[]).await;
    assert_eq!(finished.code, Some(69));
    assert_eq!(finished.stdout, "");
    let wanted = "gatepass was not ready within 100ms: credential \"envase\" has no token yet";
    assert!(finished.stderr.contains(wanted), "{}", finished.stderr);
    for wrong in ["A=b", "A=b/", "/x", "", "=/x", "1A", "A-B", "A B=/x"] {
        let finished = exec(&config, &["--variable", wrong, "--", "echo"], &[]).await;
        assert_eq!(finished.code, Some(64), "{wrong}: {}", finished.stderr);
    }
    let finished = exec(&config, &["--variable", "/x", "--", "echo"], &[]).await;
    insta::assert_snapshot!(finished.stderr, @r"
    gatepass: --variable /x cannot be set
        why       no environment variable is called so
        next      write NAME, or NAME=/PATH
    ");
}
