//! A configuration is taken up anew when one of its files changes, whatever becomes of the file.

use std::os::unix::fs::symlink;
use std::process::Command;

use crate::reload::{REFUSED, TAKEN_UP, route};
use crate::support::certificates::Authority;
use crate::support::{AuthorizationServer, CLIENT_SECRET, Gatepass, Upstream, get, simple_config};

/// Kubernetes puts a new directory beside the old one and swaps a link to it.
#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_link_is_a_change() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let directory = tempfile::tempdir().unwrap();
    let mounted = |name: &str| directory.path().join(name);
    let version = |name: &str, key: &str| {
        std::fs::create_dir(mounted(name)).unwrap();
        std::fs::write(mounted(name).join("key"), key).unwrap();
    };
    version("..1", "first");
    symlink("..1", mounted("..data")).unwrap();
    symlink("..data/key", mounted("key")).unwrap();
    let config = format!(
        "{}\nheaders = {{ x-api-key = {{ file = \"{}\" }} }}",
        simple_config(&provider, &upstream),
        mounted("key").display()
    );
    let gatepass = Gatepass::start(&config).ready().await;
    get(gatepass.proxy(), "/").await;
    assert_eq!(upstream.last().all("x-api-key"), ["first"]);

    version("..2", "second");
    symlink("..2", mounted("..next")).unwrap();
    std::fs::rename(mounted("..next"), mounted("..data")).unwrap();
    std::fs::remove_dir_all(mounted("..1")).unwrap();
    gatepass.wait_for_metric(TAKEN_UP, 1.0).await;
    get(gatepass.proxy(), "/").await;
    assert_eq!(upstream.last().all("x-api-key"), ["second"]);
    assert_eq!(provider.count(), 1);
}

/// What is read at the start is part of the key that names its file.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_of_what_takes_a_restart_is_named() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let (first, second) = (Authority::new().pem(), Authority::new().pem());
    std::fs::write(file("key"), "canary-1").unwrap();
    std::fs::write(file("ca.pem"), &first).unwrap();
    let config = format!(
        "[traces]\nheaders = {{ x-key = {{ file = \"{key}\" }} }}\n[stores.fleet]\nkind = \"redis\"\n\
         url = \"rediss://127.0.0.1\"\nunencrypted = true\ntls.ca_file = \"{ca}\"\n{}",
        simple_config(&provider, &upstream),
        key = file("key").display(),
        ca = file("ca.pem").display(),
    );
    let gatepass = Gatepass::start(&config).ready().await;
    for (name, content, reloads, told) in [
        ("key", "canary-2", 1.0, "traces.headers"),
        ("ca.pem", &second, 2.0, "stores.fleet, traces.headers"),
        ("key", "canary-1", 3.0, "stores.fleet"),
    ] {
        std::fs::write(file(name), content).unwrap();
        gatepass.wait_for_metric(TAKEN_UP, reloads).await;
        let ready = get(gatepass.admin(), "/readyz").await;
        let told = format!(
            "ready\n\nthe configuration was changed, and takes a restart to take effect in: {told}\n"
        );
        assert_eq!(ready.body(), &told, "{name}");
    }
    std::fs::write(file("ca.pem"), &first).unwrap();
    gatepass.wait_for_metric(TAKEN_UP, 4.0).await;
    assert_eq!(get(gatepass.admin(), "/readyz").await.body(), "ready\n");
}

/// Whoever rotates a file may empty it first, and Kubernetes may bring a configuration before the
/// secret that it names.
#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_in_a_file_is_mended_there() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    std::fs::write(file("key"), "first").unwrap();
    let config = format!(
        "{}\nheaders = {{ x-api-key = {{ file = \"{}\" }} }}",
        simple_config(&provider, &upstream),
        file("key").display()
    );
    let gatepass = Gatepass::start(&config).ready().await;
    std::fs::write(file("key"), "").unwrap();
    gatepass.wait_for_metric(REFUSED, 1.0).await;
    std::fs::write(file("key"), "second").unwrap();
    gatepass.wait_for_metric(TAKEN_UP, 1.0).await;
    get(gatepass.proxy(), "/").await;
    assert_eq!(upstream.last().all("x-api-key"), ["second"]);

    let inline = format!("client_secret = \"{CLIENT_SECRET}\"");
    let named = format!("client_secret_file = \"{}\"", file("secret").display());
    assert!(config.contains(&inline));
    gatepass.write_config(&config.replace(&inline, &named));
    gatepass.wait_for_metric(REFUSED, 2.0).await;
    std::fs::write(file("secret"), CLIENT_SECRET).unwrap();
    gatepass.wait_for_metric(TAKEN_UP, 2.0).await;
    assert_eq!(get(gatepass.admin(), "/readyz").await.body(), "ready\n");
}

/// Whoever opens a pipe waits until somebody writes.
#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_in_the_place_of_the_file_is_told() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let other = Upstream::start().await;
    let config = simple_config(&provider, &upstream);
    let gatepass = Gatepass::start(&config).ready().await;
    let file = gatepass.config_file();
    let pipe = file.with_extension("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    std::fs::rename(pipe, file).unwrap();
    gatepass.wait_for_metric(REFUSED, 1.0).await;
    let ready = get(gatepass.admin(), "/readyz").await;
    assert!(
        ready.body().contains("no ordinary file"),
        "{}",
        ready.body()
    );
    gatepass.write_config(&(config + &route("/other", &other)));
    gatepass.wait_for_metric(TAKEN_UP, 1.0).await;
}
