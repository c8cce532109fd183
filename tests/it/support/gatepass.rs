//! gatepass as a process of its own.

mod output;

use std::future::ready;
use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

use http::Request;
use http_body_util::Full;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use serde_json::Value;
use tempfile::TempDir;

use super::client::{get, request};
use super::{eventually, shows_a_secret};
use output::Output;

/// A running gatepass. Dropping it kills the process, and fails the test if anything that it
/// printed, at the finest log level, holds a secret or a token.
pub struct Gatepass {
    child: Child,
    output: Arc<Output>,
    proxy: SocketAddr,
    admin: SocketAddr,
    readers: Vec<JoinHandle<()>>,
    directory: TempDir,
}

impl Gatepass {
    /// Writes the configuration to a file, runs it, and waits for the listeners.
    pub fn start(config: &str) -> Self {
        Self::start_with(config, &[])
    }

    /// The same, with further environment variables.
    pub fn start_with(config: &str, environment: &[(&str, &str)]) -> Self {
        let directory = private_directory();
        let file = directory.path().join("gatepass.toml");
        std::fs::write(&file, config).unwrap();
        let mut run = command();
        run.args(["run", "--config"]).arg(&file);
        Self::spawn(run, environment, directory)
    }

    /// The same without a configuration file, in a directory with these files.
    pub fn start_by_flags(flags: &[&str], files: &[(&str, &str)]) -> Self {
        let directory = private_directory();
        for (name, content) in files {
            std::fs::write(directory.path().join(name), content).unwrap();
        }
        let mut run = command();
        run.arg("run").args(flags).current_dir(directory.path());
        Self::spawn(run, &[], directory)
    }

    /// The same by a line of a shell, in a directory that is there.
    pub fn start_in(directory: TempDir, line: &str) -> Self {
        let mut run = Command::new("sh");
        let binary = PathBuf::from(env!("CARGO_BIN_EXE_gatepass"));
        let binaries = binary.parent().unwrap().display();
        run.arg("-c")
            .arg(format!("PATH={binaries}:$PATH; exec {line}"))
            .current_dir(directory.path())
            .stdin(Stdio::null());
        Self::spawn(run, &[], directory)
    }

    fn spawn(mut run: Command, environment: &[(&str, &str)], directory: TempDir) -> Self {
        let mut child = run
            .env("GATEPASS__PROXY__LISTEN", "127.0.0.1:0")
            .env("GATEPASS__ADMIN__LISTEN", "127.0.0.1:0")
            .env("GATEPASS__LOG__LEVEL", "debug")
            .env("GATEPASS__LOG__FORMAT", "json")
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = Arc::<Output>::default();
        let readers = vec![
            output.collect(child.stdout.take().unwrap()),
            output.collect(child.stderr.take().unwrap()),
        ];
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        // Whole before anything is waited for, so that the process ends if it does not come.
        let mut gatepass = Self {
            child,
            proxy: unknown,
            admin: unknown,
            output,
            readers,
            directory,
        };
        let listening = gatepass.wait_for_event("listening");
        // Some listen on what has no address of TCP.
        let address = |name: &str| {
            let all = listening[name].as_str().unwrap();
            all.split(", ")
                .find_map(|one| one.trim_start_matches("tls:").parse().ok())
                .unwrap_or(unknown)
        };
        (gatepass.proxy, gatepass.admin) = (address("proxy"), address("admin"));
        gatepass
    }

    /// The same under a limit of open files.
    pub fn start_with_descriptors(config: &str, limit: u32) -> Self {
        Self::start_after(&format!("ulimit -n {limit}"), config)
    }

    /// The same from a shell that has run a command before.
    pub fn start_after(command: &str, config: &str) -> Self {
        let directory = private_directory();
        let file = directory.path().join("gatepass.toml");
        std::fs::write(&file, config).unwrap();
        let mut run = Command::new("sh");
        run.arg("-c")
            .arg(format!("{command} && exec \"$0\" run --config \"$1\""))
            .arg(env!("CARGO_BIN_EXE_gatepass"))
            .arg(&file);
        Self::spawn(run, &[], directory)
    }

    /// The same with a socket that it gets as systemd would hand it over, under the name `proxy`.
    pub fn start_activated(config: &str, socket: OwnedFd) -> Self {
        let directory = private_directory();
        let file = directory.path().join("gatepass.toml");
        std::fs::write(&file, config).unwrap();
        let mut run = Command::new("sh");
        run.arg("-c")
            .arg(
                "exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_FDNAMES=proxy LISTEN_PID=$$; \
                 exec \"$0\" run --config \"$1\"",
            )
            .arg(env!("CARGO_BIN_EXE_gatepass"))
            .arg(&file)
            .stdin(socket);
        let environment = [("GATEPASS__PROXY__LISTEN", "systemd:proxy")];
        Self::spawn(run, &environment, directory)
    }

    /// The same with mounts of its own, which a shell makes before (mount_namespaces(7)).
    #[allow(dead_code, reason = "for tests/soak")]
    pub fn start_with_mounts(mounts: &str, config: &str) -> Self {
        let directory = private_directory();
        let file = directory.path().join("gatepass.toml");
        std::fs::write(&file, config).unwrap();
        let mut run = Command::new("unshare");
        run.args(["--map-root-user", "--mount", "sh", "-ec"])
            .arg(format!("{mounts}\nexec \"$0\" run --config \"$1\""))
            .arg(env!("CARGO_BIN_EXE_gatepass"))
            .arg(&file);
        Self::spawn(run, &[("GATEPASS__LOG__LEVEL", "info")], directory)
    }

    /// Puts another configuration in the place of the one that it runs with.
    pub fn write_config(&self, config: &str) {
        let file = self.config_file();
        let beside = file.with_extension("next");
        std::fs::write(&beside, config).unwrap();
        std::fs::rename(beside, file).unwrap();
    }

    /// Where it stands.
    pub fn config_file(&self) -> PathBuf {
        self.directory.path().join("gatepass.toml")
    }

    /// The same, and waits until it is taken up.
    pub async fn reload(&self, config: &str) {
        const TAKEN_UP: &str = r#"gatepass_config_reloads_total{outcome="success"}"#;
        let before = self.metric(TAKEN_UP).await;
        self.write_config(config);
        self.signal(Signal::HUP);
        self.wait_for_metric(TAKEN_UP, before + 1.0).await;
    }

    pub fn proxy(&self) -> SocketAddr {
        self.proxy
    }

    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// All that was printed so far.
    pub fn output(&self) -> String {
        self.output.so_far()
    }

    /// Waits for a log event by its message.
    pub fn wait_for_event(&self, message: &str) -> Value {
        self.output.wait_for_event(message)
    }

    /// Waits until something is printed, and returns all that was printed so far.
    pub fn output_with(&self, wanted: &str) -> String {
        self.output
            .wait_for(|text| text.contains(wanted).then(|| text.to_owned()))
    }

    /// Waits until every needed credential has a token.
    pub async fn ready(self) -> Self {
        self.wait_for_probe("/readyz").await;
        self
    }

    /// Waits until a probe answers 200.
    pub async fn wait_for_probe(&self, path: &str) {
        eventually(&format!("{path} is 200"), async || {
            get(self.admin, path).await.status() == 200
        })
        .await;
    }

    /// The value of a metric, with its labels as they are written.
    pub async fn metric(&self, name_and_labels: &str) -> f64 {
        let metrics = get(self.admin, "/metrics").await.into_body();
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name_and_labels));
        let value = line.unwrap_or_else(|| panic!("no {name_and_labels} in\n{metrics}"));
        value.trim().parse().unwrap()
    }

    /// Waits until a metric has the value.
    pub async fn wait_for_metric(&self, name_and_labels: &str, value: f64) {
        eventually(&format!("{name_and_labels} is {value}"), async || {
            self.metric(name_and_labels).await == value
        })
        .await;
    }

    /// Orders a new token of this credential.
    pub async fn order_refresh(&self, credential: &str) {
        let path = format!("/api/credentials/{credential}/refresh");
        let order = Request::post(path).header("host", "localhost");
        let answer = request(self.admin, order.body(Full::default()).unwrap()).await;
        assert_eq!(answer.status(), 202, "{answer:?}");
    }

    /// The most memory that the process has ever had resident.
    pub fn peak_memory_kib(&self) -> u64 {
        self.memory_kib("VmHWM:")
    }

    /// The memory that it has resident now.
    #[allow(dead_code, reason = "for tests/soak")]
    pub fn resident_memory_kib(&self) -> u64 {
        self.memory_kib("VmRSS:")
    }

    fn memory_kib(&self, key: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// How many threads have a name that begins like this.
    #[allow(dead_code, reason = "for tests/it")]
    pub fn threads(&self, kind: &str) -> usize {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let names = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")));
        names
            .filter(|name| name.as_ref().unwrap().starts_with(kind))
            .count()
    }

    /// How much CPU time the process has used, in hundredths of a second.
    pub fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // The command's name, in parentheses, may hold anything.
        let fields: Vec<_> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        let ticks = |index: usize| fields[index].parse::<u64>().unwrap();
        ticks(11) + ticks(12)
    }

    /// The most descriptors that the process may have from now on; returns what it was before.
    pub fn limit_descriptors(&self, limit: u64) -> u64 {
        let pid = Some(Pid::from_child(&self.child));
        let new = Rlimit {
            current: Some(limit),
            maximum: getrlimit(Resource::Nofile).maximum,
        };
        let before = prlimit(pid, Resource::Nofile, new).unwrap();
        before.current.unwrap_or(u64::MAX)
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// Waits for the process to end by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        eventually("its end", || ready(!self.is_alive())).await;
        self.child.wait().unwrap()
    }

    /// Whether the process is still there.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Gatepass {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        let output = self.output();
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "gatepass printed:\n{output}");
        } else {
            assert!(!shows_a_secret(&output), "a secret was printed:\n{output}");
        }
    }
}

/// The command, without whatever the environment of the tests would tell it.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepass"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GATEPASS") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// What a command printed and how it ended.
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command that ends by itself, in a directory of its own with these files in it.
pub fn run(arguments: &[&str], files: &[(&str, &str)]) -> Finished {
    run_with(arguments, files, &[])
}

/// The same, with further environment variables.
pub fn run_with(
    arguments: &[&str],
    files: &[(&str, &str)],
    environment: &[(&str, &str)],
) -> Finished {
    let directory = private_directory();
    for (name, content) in files {
        std::fs::write(directory.path().join(name), content).unwrap();
    }
    let output = command()
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert_eq!(output.status.signal(), None, "it ended by itself");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Finished {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// What stands in it, secrets among them, is nobody else's.
fn private_directory() -> TempDir {
    let private = std::fs::Permissions::from_mode(0o700);
    let builder = tempfile::Builder::new().permissions(private).tempdir();
    builder.unwrap()
}

/// The root of the source tree.
pub fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
