//! Debian's redis-server: alone, with TLS and users, under Sentinels, as a Cluster.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::certificates::Authority;
use crate::support::client::PATIENCE;
use crate::support::eventually;

/// A running server, or a Sentinel. It is killed when this is dropped.
pub struct Redis {
    child: Child,
    program: &'static str,
    port: u16,
    directory: TempDir,
}

impl Redis {
    /// Starts a server that keeps everything in memory, with further lines of configuration.
    pub async fn start(lines: &str) -> Self {
        Self::start_on(free_port(), lines).await
    }

    async fn start_on(port: u16, lines: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = format!(
            "bind 127.0.0.1\nport {port}\nsave \"\"\nappendonly no\ndaemonize no\n{lines}\n"
        );
        Self::run("redis-server", port, directory, &config).await
    }

    async fn run(program: &'static str, port: u16, directory: TempDir, config: &str) -> Self {
        fs::write(directory.path().join("redis.conf"), config).unwrap();
        let child = spawn(program, directory.path());
        let redis = Self {
            child,
            program,
            port,
            directory,
        };
        redis.listens().await;
        redis
    }

    /// A server that takes TLS alone, and one user that may do what docs/fleet.md says and no more.
    pub async fn with_tls_and_a_user() -> (Self, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let server = authority.server();
        let write = |name: &str, content: &str| {
            let path = directory.path().join(name);
            fs::write(&path, content).unwrap();
            path
        };
        let ca = write("ca.pem", &authority.pem());
        let certificate = write("server.pem", &server.certificate);
        let key = write("server.key", &server.key);
        let port = free_port();
        let config = format!(
            "bind 127.0.0.1\nport 0\ntls-port {port}\ntls-cert-file {}\ntls-key-file {}\n\
             tls-ca-cert-file {}\ntls-auth-clients no\nsave \"\"\n\
             user default off\n{}\n",
            certificate.display(),
            key.display(),
            ca.display(),
            acl_user(),
        );
        (
            Self::run("redis-server", port, directory, &config).await,
            ca,
        )
    }

    /// Three Sentinels over a server and its replica.
    pub async fn under_sentinels() -> Fleet {
        let first = Self::start("").await;
        let second = Self::start(&format!("replicaof 127.0.0.1 {}", first.port)).await;
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            let port = free_port();
            let directory = tempfile::tempdir().unwrap();
            let config = format!(
                "bind 127.0.0.1\nport {port}\ndaemonize no\n\
                 requirepass {PASSWORD}\nsentinel sentinel-pass {PASSWORD}\n\
                 sentinel monitor fleet 127.0.0.1 {} 2\n\
                 sentinel down-after-milliseconds fleet 1000\n\
                 sentinel failover-timeout fleet 3000\n",
                first.port
            );
            sentinels.push(Self::run("redis-sentinel", port, directory, &config).await);
        }
        for sentinel in &sentinels {
            eventually(
                "the Sentinels know each other and the replica",
                async || {
                    let told = sentinel.cli(&["sentinel", "master", "fleet"]);
                    let value = |name: &str| {
                        let mut lines = told.lines().skip_while(|line| *line != name).skip(1);
                        lines.next().unwrap_or_default().to_owned()
                    };
                    value("num-other-sentinels") == "2" && value("num-slaves") == "1"
                },
            )
            .await;
        }
        Fleet {
            servers: vec![first, second],
            sentinels,
        }
    }

    /// Three servers that each have a third of the keys.
    pub async fn cluster() -> Fleet {
        let mut servers = Vec::new();
        for _ in 0..3 {
            let bus = free_port();
            let lines = format!("cluster-enabled yes\ncluster-port {bus}");
            servers.push(Self::start(&lines).await);
        }
        let addresses: Vec<_> = servers
            .iter()
            .map(|server| format!("127.0.0.1:{}", server.port))
            .collect();
        let created = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(&addresses)
            .arg("--cluster-yes")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(created.status.success(), "{created:?}");
        for server in &servers {
            eventually("the Cluster is whole", async || {
                server
                    .cli(&["cluster", "info"])
                    .contains("cluster_state:ok")
            })
            .await;
        }
        Fleet {
            servers,
            sentinels: Vec::new(),
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// What `redis-cli` prints.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(arguments)
            // Sentinels have one, and servers that have none say so and go on.
            .env("REDISCLI_AUTH", PASSWORD)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends it as a machine does that loses its power.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again, with nothing in it.
    pub async fn start_again(&mut self) {
        self.child = spawn(self.program, self.directory.path());
        self.listens().await;
    }

    async fn listens(&self) {
        let listening = async {
            while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let listening = tokio::time::timeout(PATIENCE, listening).await;
        listening.unwrap_or_else(|_| panic!("{} does not listen:\n{}", self.program, self.log()));
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // One that is stopped would not end.
        let _ = kill_process(Pid::from_child(&self.child), Signal::CONT);
        self.kill();
    }
}

/// Servers that belong together.
pub struct Fleet {
    pub servers: Vec<Redis>,
    pub sentinels: Vec<Redis>,
}

/// The user of docs/fleet.md, with this password.
pub const PASSWORD: &str = "canary-redis";

fn acl_user() -> String {
    let page = crate::support::gatepass::project().join("docs/fleet.md");
    let page = fs::read_to_string(page).unwrap();
    let line = page.lines().find(|line| line.starts_with("user gatepass "));
    line.unwrap().replace(">…", &format!(">{PASSWORD}"))
}

fn spawn(program: &str, directory: &Path) -> Child {
    let log = File::options()
        .create(true)
        .append(true)
        .open(directory.join("log"))
        .unwrap();
    Command::new(program)
        .arg("redis.conf")
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("{program} cannot be started ({error}): install redis-server and redis-sentinel")
        })
}

/// Free a moment ago; nothing else here takes ports by number.
fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().port()
}
