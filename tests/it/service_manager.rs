//! What systemd is told.

use std::os::unix::net::UnixDatagram;

use rustix::process::Signal;

use crate::support::client::PATIENCE;
use crate::support::{AuthorizationServer, Gatepass, Upstream, simple_config};

struct ServiceManager {
    socket: UnixDatagram,
    path: String,
    _directory: tempfile::TempDir,
}

impl ServiceManager {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            socket,
            path: path.display().to_string(),
            _directory: directory,
        }
    }

    /// Waits for something else than signs of life.
    fn told(&self) -> String {
        loop {
            let told = self.next();
            if told != "WATCHDOG=1\n" {
                return told;
            }
        }
    }

    fn next(&self) -> String {
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_learns_of_start_and_stop() {
    let manager = ServiceManager::start();
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let environment = [("NOTIFY_SOCKET", manager.path.as_str())];
    let config = simple_config(&provider, &upstream);
    let mut gatepass = Gatepass::start_with(&config, &environment);
    assert_eq!(manager.told(), "READY=1\n");
    assert_eq!(provider.count(), 1, "the first token was tried for");
    gatepass.signal(Signal::TERM);
    assert_eq!(manager.told(), "STOPPING=1\n");
    assert_eq!(gatepass.ended().await.code(), Some(0));
}

/// With Type=notify-reload `systemctl reload` waits between the two, and with Type=notify they are shown.
#[tokio::test(flavor = "multi_thread")]
async fn it_learns_of_a_reload_and_its_end() {
    let manager = ServiceManager::start();
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let environment = [("NOTIFY_SOCKET", manager.path.as_str())];
    let config = simple_config(&provider, &upstream);
    let gatepass = Gatepass::start_with(&config, &environment);
    assert_eq!(manager.told(), "READY=1\n");
    for config in [config.replace("tms", "another"), "a mistake".into()] {
        gatepass.write_config(&config);
        gatepass.signal(Signal::HUP);
        let told = manager.told();
        let time = told.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        let time: u64 = time.trim_end().parse().unwrap();
        assert!(time > 0);
        assert_eq!(manager.told(), "READY=1\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_sees_that_gatepass_is_alive() {
    let manager = ServiceManager::start();
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let environment = [
        ("NOTIFY_SOCKET", manager.path.as_str()),
        ("WATCHDOG_USEC", "200000"),
    ];
    let _gatepass = Gatepass::start_with(&simple_config(&provider, &upstream), &environment);
    let signs = (0..6).filter(|_| manager.next() == "WATCHDOG=1\n").count();
    assert!(signs >= 5, "{signs} signs of life");
}

/// A service that was ordered to start must not be taken for dead because its provider is.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_down_does_not_fail_the_start() {
    let manager = ServiceManager::start();
    let provider = AuthorizationServer::down();
    let upstream = Upstream::start().await;
    let environment = [("NOTIFY_SOCKET", manager.path.as_str())];
    let _gatepass = Gatepass::start_with(&simple_config(&provider, &upstream), &environment);
    assert_eq!(manager.told(), "READY=1\n");
}
