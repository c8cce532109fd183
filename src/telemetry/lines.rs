//! Log lines on their way out. Nobody waits for them: a pipe that is full because its reader hangs
//! would otherwise stop both planes at the next line.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::IntCounter;
use tracing::{Metadata, warn};
use tracing_subscriber::fmt::MakeWriter;

use super::ACCESS;
use crate::runtime;

/// Takes lines and has a thread write them. When too many wait, the newest are dropped and counted.
#[derive(Clone)]
pub(super) struct Lines {
    shared: Arc<Shared>,
    /// How much of the room for lines that wait is used.
    part: Part,
}

/// Many requests do not take the place of what an operator has to act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// For what happens.
    Whole,
    /// For the access log.
    Half,
}

impl Part {
    fn of(self, most: usize) -> usize {
        match self {
            Self::Whole => most,
            Self::Half => most / 2,
        }
    }
}

struct Shared {
    waiting: Mutex<Waiting>,
    /// A line has come.
    filled: Condvar,
    /// All lines are written.
    emptied: Condvar,
    dropped: IntCounter,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Box<[u8]>>,
    bytes: usize,
    /// A line is out of the queue and not written yet.
    writing: bool,
}

impl Lines {
    /// Starts the thread that writes to `out`.
    pub(super) fn to(out: impl Write + Send + 'static) -> io::Result<Self> {
        let dropped = IntCounter::new(
            "gatepass_log_lines_dropped_total",
            "Log lines that were not written: nobody read what was written before, or its disk was full.",
        );
        let shared = Arc::new(Shared {
            waiting: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            dropped: dropped.map_err(io::Error::other)?,
        });
        let writing = Arc::clone(&shared);
        runtime::thread("log", move || writing.write_to(out))?;
        Ok(Self {
            shared,
            part: Part::Whole,
        })
    }

    pub(super) fn dropped(&self) -> IntCounter {
        self.shared.dropped.clone()
    }

    /// Waits until all is written, but not for long: the process must end also when nobody reads.
    pub(super) fn flush(&self) {
        let waiting = self.shared.lock();
        let unwritten = |waiting: &mut Waiting| waiting.writing || !waiting.lines.is_empty();
        let emptied = &self.shared.emptied;
        drop(emptied.wait_timeout_while(waiting, LONGEST_FLUSH, unwritten));
    }
}

impl Shared {
    fn put(&self, line: &[u8], part: Part) {
        let mut waiting = self.lock();
        let beyond = waiting.bytes.saturating_add(line.len()) > part.of(MOST_BYTES);
        if beyond || waiting.lines.len() >= part.of(MOST_LINES) {
            return self.dropped.inc();
        }
        waiting.bytes += line.len();
        waiting.lines.push_back(line.into());
        self.filled.notify_one();
    }

    fn write_to(&self, mut out: impl Write) {
        let mut told = 0;
        loop {
            let line = self.next();
            let written = out.write_all(&line).and_then(|()| out.flush());
            // Whoever waits for the end finds it counted.
            if written.is_err() {
                self.dropped.inc();
            }
            {
                let mut waiting = self.lock();
                waiting.writing = false;
                if waiting.lines.is_empty() {
                    self.emptied.notify_all();
                }
            }
            let dropped = self.dropped.get();
            // Otherwise nobody is there any more.
            if written.is_ok() && dropped > told {
                warn!(
                    lines = dropped - told,
                    "log lines were dropped: nobody read the log, or its disk was full"
                );
                told = dropped;
            }
        }
    }

    fn next(&self) -> Box<[u8]> {
        let mut waiting = self.lock();
        loop {
            if let Some(line) = waiting.lines.pop_front() {
                waiting.bytes -= line.len();
                waiting.writing = true;
                return line;
            }
            let filled = self.filled.wait(waiting);
            waiting = filled.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Held for a push or a pop.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Each call is one whole line: tracing formats an event before it writes it.
impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.shared.put(line, self.part);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }

    fn make_writer_for(&'a self, about: &Metadata<'_>) -> Self {
        let part = match about.target() {
            ACCESS => Part::Half,
            _ => Part::Whole,
        };
        Self {
            part,
            ..self.clone()
        }
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lines")
            .field(&self.shared.dropped.get())
            .finish()
    }
}

/// What waits at most: some minutes of a busy log.
const MOST_LINES: usize = 8_192;
const MOST_BYTES: usize = 2 * 1024 * 1024;

const LONGEST_FLUSH: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, Read};

    use super::*;

    fn piped() -> (PipeReader, Lines) {
        let (reader, writer) = io::pipe().unwrap();
        (reader, Lines::to(writer).unwrap())
    }

    #[test]
    fn what_is_logged_is_written_before_the_end() {
        let (mut reader, mut lines) = piped();
        for number in 0..100 {
            lines.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        lines.flush();
        let mut text = [0; 290];
        reader.read_exact(&mut text).unwrap();
        assert!(text.ends_with(b"\n98\n99\n"));
        assert_eq!(lines.dropped().get(), 0);
    }

    #[test]
    fn a_pipe_that_nobody_reads_stops_nobody() {
        let (mut reader, mut lines) = piped();
        let line = [b'x'; 1_000];
        for _ in 0..10_000 {
            lines.write_all(&line).unwrap();
        }
        // 2 MiB wait, and the pipe holds some.
        let dropped = lines.dropped().get();
        assert!((7_000..9_000).contains(&dropped), "{dropped}");
        lines.flush();
        // What was not dropped comes out when somebody reads.
        let whole = usize::try_from(10_000 - dropped).unwrap() * line.len();
        let mut text = vec![0; whole];
        reader.read_exact(&mut text).unwrap();
    }

    #[test]
    fn the_access_log_leaves_room_for_what_happens() {
        let (_reader, mut lines) = piped();
        let mut access = Lines {
            part: Part::Half,
            ..lines.clone()
        };
        let line = [b'x'; 1_000];
        for _ in 0..3_000 {
            access.write_all(&line).unwrap();
        }
        let dropped = lines.dropped().get();
        assert!((1_700..2_000).contains(&dropped), "{dropped}");
        lines.write_all(&line).unwrap();
        assert_eq!(lines.dropped().get(), dropped);
    }

    #[test]
    fn a_reader_that_has_gone_is_survived() {
        let (reader, mut lines) = piped();
        drop(reader);
        // Another test may be starting a process, which holds the reader for a moment.
        let noticed = (0..10_000).any(|_| {
            lines.write_all(b"line\n").unwrap();
            lines.flush();
            lines.dropped().get() > 0
        });
        assert!(noticed);
    }
}
