//! Disks that hang, as a mount does whose server is gone: they cost those who keep something there,
//! and nobody else.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::fleet::KEY;
use crate::support::{AuthorizationServer, Gatepass, Reply, Upstream, get};

const STORES: usize = 3;

/// As many threads may be at work in a directory, so that all of them hang there.
const CREDENTIALS_OF_A_STORE: usize = 4;

struct Stage {
    provider: AuthorizationServer,
    other_provider: AuthorizationServer,
    upstream: Upstream,
    directory: TempDir,
}

impl Stage {
    async fn new() -> Self {
        let stage = Self {
            provider: AuthorizationServer::start(),
            other_provider: AuthorizationServer::start(),
            upstream: Upstream::start().await,
            directory: tempfile::tempdir().unwrap(),
        };
        stage.provider.otherwise(Reply::Token(2.0));
        fs::write(stage.directory.path().join("key"), KEY).unwrap();
        for store in 0..STORES {
            fs::create_dir(stage.tokens(store)).unwrap();
        }
        stage
    }

    fn tokens(&self, store: usize) -> PathBuf {
        self.directory.path().join(format!("tokens-{store}"))
    }

    /// One credential that needs no disk but the name of its provider, and many that keep their
    /// tokens on one.
    fn config(&self) -> String {
        let upstream = self.upstream.origin();
        let endpoint = self.provider.token_endpoint();
        let mut config = format!(
            r#"
            [credentials.well]
            token_endpoint = "{}"
            client_id = "well"
            client_secret = "canary-secret"

            [[routes]]
            path = "/"
            upstream = "{upstream}"
            credential = "well"
            "#,
            endpoint.replace("127.0.0.1", "localhost"),
        );
        for store in 0..STORES {
            config += &format!(
                r#"
                [stores.s{store}]
                kind = "file"
                directory = "{}"
                key_file = "{}"
                "#,
                self.tokens(store).display(),
                self.directory.path().join("key").display(),
            );
            for number in 0..CREDENTIALS_OF_A_STORE {
                config += &format!(
                    r#"
                    [credentials.s{store}-{number}]
                    token_endpoint = "{}"
                    client_id = "s{store}-{number}"
                    client_secret = "canary-secret"
                    store = "s{store}"

                    [[routes]]
                    path = "/s{store}-{number}"
                    upstream = "{upstream}"
                    credential = "s{store}-{number}"
                    "#,
                    self.other_provider.token_endpoint(),
                );
            }
        }
        config
    }

    /// Has every read of an entry wait for somebody who never comes (fifo(7)).
    fn hang(&self) {
        let mut entries = 0;
        for store in 0..STORES {
            for entry in fs::read_dir(self.tokens(store)).unwrap() {
                let entry = entry.unwrap().path();
                if entry.extension().is_none() {
                    fs::remove_file(&entry).unwrap();
                    let made = Command::new("mkfifo").arg(&entry).status().unwrap();
                    assert!(made.success());
                    entries += 1;
                }
            }
        }
        assert_eq!(entries, STORES * CREDENTIALS_OF_A_STORE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_that_hang_cost_no_other_credential_its_token() {
    let stage = Stage::new().await;
    drop(Gatepass::start(&stage.config()).ready().await);
    stage.hang();

    let mut gatepass = Gatepass::start(&stage.config()).ready().await;
    // Long enough for all of them to have come to the disk more than once.
    let before = stage.provider.count();
    stage.provider.wait_for_requests(before + 4).await;
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    assert_eq!(get(gatepass.proxy(), "/s0-0").await.status(), 200);
    let hanging = STORES * CREDENTIALS_OF_A_STORE;
    let threads = gatepass.threads("blocking");
    assert!(
        (hanging..hanging + 8).contains(&threads),
        "{threads} threads"
    );

    // Nor are the threads that hang waited for.
    let asked = tokio::time::Instant::now();
    gatepass.signal(Signal::TERM);
    assert!(gatepass.ended().await.success());
    assert!(asked.elapsed() < Duration::from_secs(10));
}
