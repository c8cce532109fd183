//! Lines that say the same again and again, held back: what fails a hundred times in a second would
//! otherwise push everything else out of the log.

use std::collections::HashMap;
use std::fmt::{Debug, Write};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, info, warn};
use tracing_subscriber::layer::{Context, Filter};

use super::ACCESS;
use crate::runtime;

/// Lets a few events through that say the same of the same thing, and counts the others, which are
/// told when the period is over.
///
/// The finer levels and the access log are not held back: whoever asks for them wants all of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Repeats(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    /// By what is said, and of what.
    known: HashMap<u64, Said>,
    /// A thread is there to tell what was held back.
    is_told: bool,
}

/// What has been said in a period.
#[derive(Debug)]
struct Said {
    since: Instant,
    level: Level,
    line: String,
    lines: u32,
    held_back: u64,
}

impl Said {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= PERIOD
    }
}

impl Repeats {
    /// Tells what is held back by now. For the end.
    pub(super) fn tell_all(&self) {
        let known = std::mem::take(&mut self.lock().known);
        known.into_values().for_each(tell);
    }

    /// Whether an event is to be written.
    fn passes(&self, event: &Event<'_>) -> bool {
        let about = event.metadata();
        if *about.level() > Level::INFO || [ACCESS, TARGET].contains(&about.target()) {
            return true;
        }
        let mut line = Line::default();
        event.record(&mut line);
        let mut key = DefaultHasher::new();
        (about.callsite(), line.identity()).hash(&mut key);
        let held_back = self.lock().note(key.finish(), *about.level(), line);
        if held_back {
            self.have_it_told();
        }
        !held_back
    }

    /// Has a thread tell what is held back. There is none as long as nothing is.
    fn have_it_told(&self) {
        if std::mem::replace(&mut self.lock().is_told, true) {
            return;
        }
        let repeats = self.clone();
        let telling = runtime::thread("log repeats", move || {
            let mut goes_on = true;
            while goes_on {
                thread::sleep(PERIOD / 10);
                let over = repeats.lock().take_over(Instant::now());
                goes_on = repeats.lock().goes_on();
                over.into_iter().for_each(tell);
            }
        });
        if telling.is_err() {
            // The next line that is held back tries again.
            self.lock().is_told = false;
        }
    }

    /// Held for a look at the map.
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// Notes a line; `true` if it is held back.
    fn note(&mut self, key: u64, level: Level, line: Line) -> bool {
        let now = Instant::now();
        if self.known.len() >= MOST_KNOWN {
            let is_needed = |said: &Said| said.held_back > 0 || !said.is_over(now);
            self.known.retain(|_, said| is_needed(said));
        }
        let is_full = self.known.len() >= MOST_KNOWN;
        if is_full && !self.known.contains_key(&key) {
            return false;
        }
        let said = self.known.entry(key).or_insert_with(|| Said {
            since: now,
            level,
            line: line.text(),
            lines: 0,
            held_back: 0,
        });
        if said.held_back == 0 && said.is_over(now) {
            (said.since, said.lines) = (now, 0);
        }
        if said.lines < MOST_LINES {
            said.lines += 1;
            return false;
        }
        said.held_back = said.held_back.saturating_add(1);
        true
    }

    /// Takes out those of which lines were held back in a period that is over.
    fn take_over(&mut self, now: Instant) -> Vec<Said> {
        let is_over = |_: &u64, said: &mut Said| said.held_back > 0 && said.is_over(now);
        let over = self.known.extract_if(is_over);
        over.map(|(_, said)| said).collect()
    }

    /// Whether there will be more to tell.
    fn goes_on(&mut self) -> bool {
        self.is_told = self.known.values().any(|said| said.held_back > 0);
        self.is_told
    }
}

fn tell(said: Said) {
    let (line, times) = (said.line, said.held_back);
    match (times, said.level) {
        (0, _) => {}
        (_, Level::INFO) => info!(line, times, "the same was said again and is held back"),
        (_, _) => warn!(line, times, "the same was said again and is held back"),
    }
}

impl<S> Filter<S> for Repeats {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    /// It depends on the event. (With `always` the registry takes what is held back for a fault.)
    fn callsite_enabled(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        self.passes(event)
    }
}

/// What a line says, and of what.
#[derive(Debug, Default)]
struct Line {
    message: String,
    subject: String,
}

impl Line {
    /// Two lines of one place in the code are the same if these are. A message may hold what is
    /// another each time, so what it is about is better, where that is said.
    fn identity(&self) -> &str {
        match self.subject.is_empty() {
            true => &self.message,
            false => &self.subject,
        }
    }

    fn text(mut self) -> String {
        self.message
            .truncate(self.message.floor_char_boundary(LONGEST_MESSAGE));
        self.message + &self.subject
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a string fails in no case.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name if SUBJECTS.contains(&name) => write!(self.subject, " {name}={value:?}"),
            _ => Ok(()),
        };
    }
}

/// The fields that say what a line is about.
const SUBJECTS: [&str; 3] = ["credential", "route", "task"];

/// Of the lines that tell what was held back. None of them is held back itself: of each there is one in a
/// period.
pub(super) const TARGET: &str = module_path!();

/// How many lines that say the same are written in a period.
const MOST_LINES: u32 = 5;

const PERIOD: Duration = Duration::from_secs(10);

/// Of how many different lines is known when they were said. Beyond that nothing is held back.
const MOST_KNOWN: usize = 512;

const LONGEST_MESSAGE: usize = 256;

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::{Layer, Registry};

    use super::*;

    /// Keeps what comes through.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<String>>>);

    impl<S: tracing::Subscriber> Layer<S> for Kept {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut line = Line::default();
            event.record(&mut line);
            self.0.lock().unwrap().push(line.text());
        }
    }

    fn lines(repeats: &Repeats, say: impl FnOnce()) -> Vec<String> {
        let kept = Kept::default();
        let layer = kept.clone().with_filter(repeats.clone());
        let subscriber = Registry::default().with(layer);
        tracing::subscriber::with_default(subscriber, say);
        let lines = kept.0.lock().unwrap();
        lines.clone()
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_come_through_and_the_others_are_counted() {
        let repeats = Repeats::default();
        // Nothing waits to tell them here but the test.
        repeats.lock().is_told = true;
        let say = |times: u32| {
            for time in 0..times {
                for credential in ["a", "b"] {
                    warn!(credential, "it failed: {time}");
                }
                tracing::debug!("fine");
            }
        };
        let said = lines(&repeats, || say(100));
        let count = |lines: &[String], of: &str| lines.iter().filter(|it| it.contains(of)).count();
        assert_eq!(
            ["\"a\"", "\"b\"", "fine"].map(|of| count(&said, of)),
            [5, 5, 100]
        );

        // Not before the period is over.
        tokio::time::advance(PERIOD - Duration::from_millis(1)).await;
        assert_eq!(repeats.lock().take_over(Instant::now()).len(), 0);
        assert_eq!(count(&lines(&repeats, || say(1)), "failed"), 0);
        tokio::time::advance(Duration::from_millis(1)).await;
        let over = repeats.lock().take_over(Instant::now());
        let told: Vec<_> = over.iter().map(|of| (&*of.line, of.held_back)).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told.contains(&("it failed: 0 credential=\"a\"", 96)),
            "{told:?}"
        );
        assert!(!repeats.lock().goes_on());
        // And from the beginning.
        assert_eq!(count(&lines(&repeats, || say(100)), "failed"), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_held_back_is_told_of_each() {
        let repeats = Repeats::default();
        repeats.lock().is_told = true;
        let credentials = 0..2 * u64::from(MOST_LINES);
        lines(&repeats, || {
            for credential in credentials.clone() {
                (0..=MOST_LINES).for_each(|_| warn!(credential, "it failed"));
            }
        });
        tokio::time::advance(PERIOD).await;
        let over = repeats.lock().take_over(Instant::now());
        let said = lines(&repeats, || over.into_iter().for_each(tell));
        assert_eq!(said.len(), credentials.count());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_said_now_and_then_is_said_each_time() {
        let repeats = Repeats::default();
        for _ in 0..100 {
            let said = lines(&repeats, || info!(credential = "a", "new token"));
            assert_eq!(said.len(), 1);
            tokio::time::advance(PERIOD / 5).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_back_is_not_forgotten_for_others() {
        let repeats = Repeats::default();
        repeats.lock().is_told = true;
        lines(&repeats, || {
            (0..=MOST_LINES).for_each(|_| warn!(credential = "a", "it failed"));
            (0..2 * MOST_KNOWN).for_each(|number| warn!("mistake {number}"));
        });
        tokio::time::advance(PERIOD).await;
        let over = repeats.lock().take_over(Instant::now());
        assert_eq!(over.iter().map(|said| said.held_back).sum::<u64>(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_and_nothing_is_lost_for_that() {
        let repeats = Repeats::default();
        let said = lines(&repeats, || {
            for number in 0..2 * MOST_KNOWN {
                warn!("mistake {number}");
            }
        });
        assert_eq!(said.len(), 2 * MOST_KNOWN);
        assert_eq!(repeats.lock().known.len(), MOST_KNOWN);
        tokio::time::advance(PERIOD).await;
        lines(&repeats, || warn!("another mistake"));
        assert_eq!(repeats.lock().known.len(), 1);
    }
}
