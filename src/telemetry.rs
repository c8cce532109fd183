//! Logs: what is written, and in which form. Metrics live with the rooms that they measure.

mod events;
mod lines;
mod repeats;

use std::env;
use std::io::{self, IsTerminal};
use std::panic;

use prometheus::IntCounter;
use tracing::level_filters::LevelFilter;
use tracing::{Level, error};
use tracing_subscriber::filter::{FilterExt, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

pub use events::{Event, Events};
use lines::Lines;
use repeats::Repeats;

use crate::runtime;

/// The target of the lines of the access log.
pub const ACCESS: &str = concat!(env!("CARGO_CRATE_NAME"), "::access");

/// How much is logged, and how it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The least severe level of gatepass's own events that is still written.
    pub level: Level,
    /// The form of a line.
    pub format: Format,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Words on a terminal, JSON anywhere else.
    Auto,
    /// Words.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            level: Level::INFO,
            format: Format::Auto,
        }
    }
}

/// The running log. When it is dropped, what has been logged is written, if that does not take long.
#[derive(Debug)]
pub struct Log {
    lines: Lines,
    events: Events,
    repeats: Repeats,
}

impl Log {
    /// Counts the lines that nobody could be made to take.
    pub fn dropped_lines(&self) -> IntCounter {
        self.lines.dropped()
    }

    /// What was logged last, whatever level is written.
    pub fn events(&self) -> Events {
        self.events.clone()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.repeats.tell_all();
        self.lines.flush();
    }
}

/// Starts to log to standard error, and has panics logged the same way.
///
/// # Errors
///
/// Logging was started before, or the operating system has no thread or descriptor left.
pub fn start(settings: Settings) -> io::Result<Log> {
    // Somebody may have led it into one.
    runtime::survive_full_files()?;
    let out = Lines::to(io::stderr())?;
    let terminal = io::stderr().is_terminal();
    let json = match settings.format {
        Format::Auto => !terminal,
        Format::Text => false,
        Format::Json => true,
    };
    let lines = if json {
        fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_writer(out.clone())
            .boxed()
    } else {
        fmt::layer()
            .with_target(false)
            .with_ansi(takes_colours(&io::stderr()))
            .with_writer(out.clone())
            .boxed()
    };
    let events = Events::default();
    let repeats = Repeats::default();
    tracing_subscriber::registry()
        .with(events.layer())
        .with(lines.with_filter(filter(settings.level).and(repeats.clone())))
        .try_init()
        .map_err(io::Error::other)?;
    log_panics();
    Ok(Log {
        lines: out,
        events,
        repeats,
    })
}

/// Whether what is written there may have colours: it is a terminal, and its user has not refused them
/// (<https://no-color.org>).
pub fn takes_colours(stream: &impl IsTerminal) -> bool {
    let is_refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = env::var_os("TERM").is_some_and(|kind| kind == "dumb");
    stream.is_terminal() && !is_refused && !is_dumb
}

/// The level is for gatepass's own events. The libraries below it may write header fields and
/// bodies at their finest levels, tokens and secrets among them, so they are held to warnings
/// whatever the level is.
fn filter(level: Level) -> Targets {
    Targets::new()
        .with_default(LevelFilter::WARN.min(level.into()))
        .with_target(env!("CARGO_CRATE_NAME"), level)
        // Whoever asks for it wants it at any level.
        .with_target(ACCESS, LevelFilter::INFO)
}

/// A panic's own message goes to the log as one event, in the form that the log has. The payload
/// is ours or a library's constant text; it never quotes a header or a body.
fn log_panics() {
    panic::set_hook(Box::new(|info| {
        let message = info.payload_as_str().unwrap_or("no message");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        error!(place, "a task panicked: {message}");
    }));
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// Somebody who takes a while to take a line.
    struct Slow(mpsc::Sender<Vec<u8>>);

    impl Write for Slow {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            thread::sleep(Duration::from_millis(100));
            let _ = self.0.send(line.to_vec());
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_logged_last_is_written_before_the_end() {
        let (sender, written) = mpsc::channel();
        let mut lines = Lines::to(Slow(sender)).unwrap();
        lines.write_all(b"why it ends\n").unwrap();
        drop(Log {
            lines,
            events: Events::default(),
            repeats: Repeats::default(),
        });
        assert_eq!(written.try_recv().unwrap(), b"why it ends\n");
    }

    #[test]
    fn libraries_are_held_to_warnings_at_every_level() {
        for level in [Level::DEBUG, Level::INFO, Level::WARN] {
            let filter = filter(level);
            assert!(filter.would_enable("gatepass::token", &level));
            assert!(!filter.would_enable("hyper::proto", &Level::INFO));
            assert!(filter.would_enable("rustls", &Level::WARN));
        }
        assert!(!filter(Level::ERROR).would_enable("rustls", &Level::WARN));
        assert!(filter(Level::ERROR).would_enable(ACCESS, &Level::INFO));
    }
}
