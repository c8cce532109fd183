//! gatepass on a terminal, as a person has it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::client::PATIENCE;
use super::gatepass::command;

/// Ctrl-D
pub const END_OF_INPUT: u8 = 4;

/// Ctrl-C
pub const INTERRUPT: u8 = 3;

/// A command on a terminal of its own.
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<Screen>,
    reader: Option<JoinHandle<()>>,
    /// How much of what was printed has been looked at.
    seen: usize,
}

#[derive(Default)]
struct Screen {
    text: Mutex<String>,
    grown: Condvar,
}

impl Terminal {
    /// Runs gatepass there, in a directory.
    pub fn run(arguments: &[&str], directory: &Path, environment: &[(&str, &str)]) -> Self {
        let mut gatepass = command();
        gatepass
            .args(arguments)
            .env_remove("NO_COLOR")
            .envs(environment.iter().copied());
        Self::start(gatepass, directory)
    }

    /// Runs a line of a shell there, in a directory. The terminal controls it, as it does the shell of
    /// whoever sits at one: its keys make signals.
    pub fn run_line(line: &str, directory: &Path) -> Self {
        let mut shell = Command::new("setsid");
        let binary = PathBuf::from(env!("CARGO_BIN_EXE_gatepass"));
        let binaries = binary.parent().unwrap().display();
        let line = format!("PATH={binaries}:$PATH; {line}");
        shell.args(["--ctty", "sh", "-c", &line]);
        Self::start(shell, directory)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a terminal of the test's own, not of gatepass"
    )]
    fn start(mut command: Command, directory: &Path) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave =
            || -> OwnedFd { open(&*name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap() };
        let child = command
            .env("TERM", "xterm")
            .current_dir(directory)
            .stdin(Stdio::from(slave()))
            .stdout(Stdio::from(slave()))
            .stderr(Stdio::from(slave()))
            .spawn()
            .unwrap();
        let screen = Arc::<Screen>::default();
        let mut output = File::from(master.try_clone().unwrap());
        let reader = std::thread::spawn({
            let screen = Arc::clone(&screen);
            move || {
                let mut buffer = [0; 4096];
                // The end of a terminal is an error on Linux.
                while let Ok(length @ 1..) = output.read(&mut buffer) {
                    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                    screen.text.lock().unwrap().push_str(&text);
                    screen.grown.notify_all();
                }
            }
        });
        Self {
            child,
            keyboard: File::from(master),
            screen,
            reader: Some(reader),
            seen: 0,
        }
    }

    /// Waits until this is printed, after what was waited for before.
    pub fn wait_for(&mut self, wanted: &str) {
        let text = self.screen.text.lock().unwrap();
        let seen = self.seen;
        let new = |text: &str| text.get(seen..).unwrap_or_default().to_owned();
        let waited = self
            .screen
            .grown
            .wait_timeout_while(text, PATIENCE, |text| !new(text).contains(wanted));
        let (text, _) = waited.unwrap();
        let new = new(&text);
        let found = new.find(wanted);
        let found = found.unwrap_or_else(|| panic!("no {wanted:?} in time:\n{new}"));
        self.seen = seen + found + wanted.len();
    }

    /// All that was to be seen so far.
    pub fn seen(&self) -> String {
        self.screen.text.lock().unwrap().clone()
    }

    /// Waits for a question and answers it.
    pub fn answer(&mut self, question: &str, answer: &str) {
        self.wait_for(question);
        self.keyboard
            .write_all(format!("{answer}\n").as_bytes())
            .unwrap();
    }

    /// Sends the process a signal that no key of the terminal has made.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Presses a key.
    pub fn press(&mut self, key: u8) {
        self.keyboard.write_all(&[key]).unwrap();
    }

    /// Waits for the end; returns the exit code and all that was to be seen, the line ends being those
    /// of a file.
    pub fn end(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        let text = self
            .screen
            .text
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        (status.code(), text.replace("\r\n", "\n"))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
