//! `gatepass login` as a process that waits for its browser.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, Stdio};

use super::gatepass::command;
use super::shows_a_secret;

/// A login under way. Dropping it kills the process.
pub struct LoggingIn {
    child: Child,
    output: BufReader<ChildStderr>,
    told: String,
}

impl LoggingIn {
    /// Begins one in a directory with a `gatepass.toml`, on a machine without a browser.
    pub fn begin(directory: &Path, arguments: &[&str]) -> Self {
        Self::begin_with(directory, arguments, &[])
    }

    /// The same with these environment variables.
    pub fn begin_with(directory: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut child = command()
            .arg("login")
            .args(arguments)
            .current_dir(directory)
            .env_remove("BROWSER")
            .env_remove("DISPLAY")
            .env_remove("WAYLAND_DISPLAY")
            .env_remove("SSH_CONNECTION")
            .env_remove("SSH_TTY")
            .envs(environment.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stderr.take().unwrap());
        Self {
            child,
            output,
            told: String::new(),
        }
    }

    /// These words and what follows them, in a line that it tells.
    pub fn line_with(&mut self, words: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.output.read_line(&mut line).unwrap();
            assert!(read > 0, "{}", self.told);
            self.told.push_str(&line);
            if let Some((_, rest)) = line.trim().split_once(words) {
                return format!("{words}{rest}");
            }
        }
    }

    /// How it ended, and all that it told.
    pub fn ended(mut self) -> (Option<i32>, String) {
        let mut told = std::mem::take(&mut self.told);
        self.output.read_to_string(&mut told).unwrap();
        let status = self.child.wait().unwrap();
        assert!(!shows_a_secret(&told), "a secret was printed:\n{told}");
        (status.code(), told)
    }
}

impl Drop for LoggingIn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
