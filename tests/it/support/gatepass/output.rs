//! What a process prints, line by line, for those who wait for a part of it.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use serde_json::Value;

use crate::support::client::PATIENCE;

#[derive(Default)]
pub struct Output {
    text: Mutex<String>,
    grown: Condvar,
}

impl Output {
    #[expect(
        clippy::disallowed_methods,
        reason = "a pipe of the test's own, not of gatepass"
    )]
    pub fn collect(self: &Arc<Self>, pipe: impl Read + Send + 'static) -> JoinHandle<()> {
        let output = Arc::clone(self);
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                let mut text = output.text();
                text.push_str(&line);
                text.push('\n');
                output.grown.notify_all();
            }
        })
    }

    pub fn so_far(&self) -> String {
        self.text().clone()
    }

    /// A test that panics while it waits leaves the text whole.
    fn text(&self) -> MutexGuard<'_, String> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn wait_for_event(&self, message: &str) -> Value {
        self.wait_for(|text| {
            text.lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .find(|event| event["message"].as_str() == Some(message))
        })
    }

    pub fn wait_for<T>(&self, find: impl Fn(&str) -> Option<T>) -> T {
        let text = self.text();
        let waited = self
            .grown
            .wait_timeout_while(text, PATIENCE, |text| find(text).is_none());
        let (text, _) = waited.unwrap();
        find(&text).unwrap_or_else(|| panic!("not printed in time:\n{text}"))
    }
}
