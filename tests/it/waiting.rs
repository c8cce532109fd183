//! `gatepass wait`, for those who must not begin before the tokens are there.

use std::process::Stdio;

use crate::status_command::{NO_ADMIN_LISTENER, stranger, told_by_a_stranger};
use crate::support::gatepass::{command, run};
use crate::support::{AuthorizationServer, Gatepass, Upstream, simple_config};

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_as_soon_as_every_token_is_there() {
    let mut provider = AuthorizationServer::down();
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&simple_config(&provider, &upstream));
    let admin = gatepass.admin().to_string();
    gatepass.wait_for_probe("/startupz").await;
    let mut waiting = command()
        .args(["wait", "--timeout", "20s", "--admin-listen", &admin])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    assert!(waiting.try_wait().unwrap().is_none(), "there is no token");
    provider.come_up();
    let finished = tokio::task::spawn_blocking(move || waiting.wait_with_output().unwrap());
    let finished = finished.await.unwrap();
    assert_eq!(finished.status.code(), Some(0), "{finished:?}");
    assert!(finished.stderr.is_empty(), "{finished:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_its_time_it_says_what_is_missing() {
    let provider = AuthorizationServer::down();
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&simple_config(&provider, &upstream));
    gatepass.wait_for_probe("/startupz").await;
    // The address is that of the configuration, whatever else stands there; on all interfaces it is
    // asked on loopback.
    let port = gatepass.admin().port();
    let config = format!("admin.listen = \"0.0.0.0:{port}\"\nunfinished = true\n");
    let finished = tokio::task::spawn_blocking(move || {
        let files = [("gatepass.toml", config.as_str())];
        run(&["wait", "--timeout", "100ms"], &files)
    });
    let finished = finished.await.unwrap();
    assert_eq!(finished.code, Some(69));
    let wanted = format!("gatepass: the gatepass at 0.0.0.0:{port} was not ready within 100ms");
    assert!(finished.stderr.starts_with(&wanted), "{}", finished.stderr);
    let wanted = "credential \"envase\" has no token yet";
    assert!(finished.stderr.contains(wanted), "{}", finished.stderr);
}

#[test]
fn nobody_there_is_said_as_such() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let finished = run(
        &["wait", "--timeout", "1ms", "--admin-listen", &address],
        &[],
    );
    assert_eq!(finished.code, Some(69));
    assert!(
        finished
            .stderr
            .contains("it cannot be asked: Connection refused")
    );

    let files = [("gatepass.toml", "admin.listen = \"nonsense\"")];
    let finished = run(&["wait"], &files);
    assert_eq!(finished.code, Some(78), "{}", finished.stderr);
}

#[test]
fn a_length_of_time_needs_a_unit() {
    let said = |arguments: &[&str]| {
        let finished = run(arguments, &[]);
        assert_eq!(finished.code, Some(64), "{}", finished.stderr);
        finished.stderr
    };
    let all = [
        said(&["wait", "--timeout", "5"]),
        said(&["login", "--timeout", "soon"]),
        said(&["exec", "--timeout", "5", "--", "true"]),
    ];
    insta::assert_snapshot!(all.join("\n"), @r"
    gatepass: the command line is not understood
        why       invalid value '5' for '--timeout <DURATION>': it needs a unit, such as 5s for seconds
        next      For more information, try '--help'.

    gatepass: the command line is not understood
        why       invalid value 'soon' for '--timeout <DURATION>': a length of time is written 30s or 1m 30s
        next      For more information, try '--help'.

    gatepass: the command line is not understood
        why       invalid value '5' for '--timeout <DURATION>': it needs a unit, such as 5s for seconds
        next      For more information, try '--help'.
    ");
}

/// Other servers say 200 to anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_that_says_200_is_not_believed() {
    let page = stranger("<!doctype html>").await;
    let said = told_by_a_stranger(&["wait", "--timeout", "1ms"], &page).await;
    assert!(said.contains(NO_ADMIN_LISTENER), "{said}");
}
