//! Session files that are not as gatepass would have them, and file systems that say no.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};

use rustix::process::geteuid;

use super::{PASSWORD, SUCCESSES, Stage};
use crate::support::{Gatepass, get};

/// As a volume has them once a pod runs as another user (`fsGroup`), or a file system without modes.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_cannot_be_made_private_is_a_session_all_the_same() {
    let stage = Stage::new().await;
    drop(stage.start(PASSWORD).await);
    let session = stage.session_file();
    fs::set_permissions(&session, Permissions::from_mode(0o640)).unwrap();
    // Only root can make it somebody else's, and gives up the right to change that.
    let (line, said) = if geteuid().is_root() {
        chown(&session, Some(65_534), None).unwrap();
        (
            "setpriv --bounding-set=-fowner ",
            "it cannot be made private",
        )
    } else {
        ("", "it is made private")
    };
    let directory = tempfile::tempdir().unwrap();
    fs::write(
        directory.path().join("gatepass.toml"),
        stage.config(PASSWORD),
    )
    .unwrap();
    let line = format!("{line}gatepass run --config gatepass.toml");
    let gatepass = Gatepass::start_in(directory, &line).ready().await;
    assert!(gatepass.output().contains(said), "{}", gatepass.output());
    assert_eq!(stage.asked(), ["password", "canary-refresh-1"]);
}

/// POSIX has a signal for it that ends the process.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_the_size_of_files_costs_no_request() {
    let stage = Stage::new().await;
    let config = stage.config(PASSWORD);
    let gatepass = Gatepass::start_after("ulimit -f 0", &config).ready().await;
    gatepass.output_with("File too large (os error 27); the session goes on");
    gatepass.wait_for_metric(SUCCESSES, 1.0).await;
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
}
