//! The last events that somebody on call would want to read, as they were logged: the status page shows
//! them to those who have no log at hand.
//!
//! There is no second list of what is worth telling: whatever gatepass logs at `INFO` and above is, whatever
//! level is written, but for the access log and for what was held back of the log itself.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde_json::{Map, Value};
use tokio::sync::watch;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::{ACCESS, repeats};

/// What has happened lately. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Events(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    kept: Mutex<VecDeque<Arc<Event>>>,
    /// The number of the last one.
    last: watch::Sender<u64>,
}

/// Something that has happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Of all events, counted from 1.
    pub number: u64,
    /// When, the last time.
    pub at: SystemTime,
    /// How often in a row.
    pub times: u64,
    /// How grave it is.
    pub level: Level,
    /// What, in words.
    pub message: String,
    /// What else the log says of it, such as the credential.
    pub fields: Map<String, Value>,
}

impl Event {
    /// What it is about: the names under which it is logged.
    fn subject(&self) -> [Option<&Value>; 2] {
        ["credential", "route"].map(|name| self.fields.get(name))
    }

    /// Whether it is the same once more.
    fn repeats(&self, before: &Self) -> bool {
        self.level == before.level
            && self.message == before.message
            && self.subject() == before.subject()
    }
}

impl Events {
    /// All that are kept, the last one first.
    pub fn all(&self) -> Vec<Arc<Event>> {
        self.kept().iter().cloned().collect()
    }

    /// Those after the one of this number, in their order.
    pub fn after(&self, number: u64) -> Vec<Arc<Event>> {
        let kept = self.kept();
        let newer = kept.iter().take_while(|event| event.number > number);
        let mut newer: Vec<_> = newer.cloned().collect();
        newer.reverse();
        newer
    }

    /// Tells the number of the last one whenever there is another.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.0.last.subscribe()
    }

    /// Takes what is logged.
    pub(super) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let told = Targets::new()
            .with_target(env!("CARGO_CRATE_NAME"), LevelFilter::INFO)
            .with_target(ACCESS, LevelFilter::OFF)
            // Events are counted here, and none is held back.
            .with_target(repeats::TARGET, LevelFilter::OFF);
        self.clone().with_filter(told)
    }

    /// One that says again what was last said of the same takes its place: a provider that is down for
    /// hours would leave nothing of what was before.
    fn add(&self, mut event: Event) {
        let mut kept = self.kept();
        event.number = *self.0.last.borrow() + 1;
        let same = kept.iter().position(|of| of.subject() == event.subject());
        if let Some(position) = same
            && let Some(before) = kept.get(position).filter(|before| event.repeats(before))
        {
            event.times += before.times;
            kept.remove(position);
        }
        let number = event.number;
        kept.truncate(KEPT - 1);
        kept.push_front(Arc::new(event));
        // Whoever learns of it must find it.
        self.0.last.send_replace(number);
    }

    /// Held for a look. Whoever panics meanwhile leaves it whole.
    fn kept(&self) -> MutexGuard<'_, VecDeque<Arc<Event>>> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber> Layer<S> for Events {
    #[expect(
        clippy::disallowed_methods,
        reason = "the moment of a line of the log, which the log takes from the same clock"
    )]
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut words = Words::default();
        event.record(&mut words);
        self.add(Event {
            number: 0,
            at: SystemTime::now(),
            times: 1,
            level: *event.metadata().level(),
            message: words.message,
            fields: words.fields,
        });
    }
}

/// Reads an event.
#[derive(Default)]
struct Words {
    message: String,
    fields: Map<String, Value>,
}

impl Words {
    fn add(&mut self, field: &Field, value: Value) {
        self.fields.insert(field.name().to_owned(), value);
    }
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let short: String = value.chars().take(LONGEST_TEXT).collect();
        match field.name() {
            "message" => self.message = short,
            _ => self.add(field, short.into()),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }
}

/// As many as somebody would read, and as fit into a page.
const KEPT: usize = 50;

/// In characters.
const LONGEST_TEXT: usize = 1_000;

#[cfg(test)]
mod tests {
    use tracing::{debug, error, info, warn};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn told(log: impl FnOnce()) -> Vec<String> {
        let events = Events::default();
        let subscriber = tracing_subscriber::registry().with(events.layer());
        tracing::subscriber::with_default(subscriber, log);
        let all = events.all();
        assert_eq!(
            *events.news().borrow(),
            all.first().map_or(0, |of| of.number)
        );
        let line = |event: &Arc<Event>| {
            let Event {
                number,
                times,
                level,
                message,
                fields,
                ..
            } = &**event;
            format!(
                "{number} {level} {times} {message} {}",
                Value::from(fields.clone())
            )
        };
        all.iter().map(line).collect()
    }

    #[test]
    fn what_is_logged_is_told_with_its_fields_and_the_last_comes_first() {
        let told = told(|| {
            info!(credential = "a", generation = 1, "new token");
            debug!("detail");
            info!(target: "gatepass::access", "a request is over");
            warn!(target: "hyper::proto", "not ours");
            warn!(target: "gatepass::telemetry::repeats", "of the log alone");
            error!(error = %"no\nluck", "broken");
        });
        assert_eq!(
            told,
            [
                r#"2 ERROR 1 broken {"error":"no\nluck"}"#,
                r#"1 INFO 1 new token {"credential":"a","generation":1}"#,
            ]
        );
    }

    #[test]
    fn what_is_said_again_of_the_same_takes_the_place_of_what_was_said() {
        let told = told(|| {
            info!(credential = "a", "new token");
            for failures in 1..=100 {
                warn!(credential = "a", failures, "no luck");
                warn!(credential = "b", failures, "no luck");
            }
            info!(credential = "a", "new token");
            warn!(credential = "a", "no luck");
        });
        assert_eq!(
            told,
            [
                r#"203 WARN 1 no luck {"credential":"a"}"#,
                r#"202 INFO 1 new token {"credential":"a"}"#,
                r#"201 WARN 100 no luck {"credential":"b","failures":100}"#,
                r#"200 WARN 100 no luck {"credential":"a","failures":100}"#,
                r#"1 INFO 1 new token {"credential":"a"}"#,
            ]
        );
    }

    #[test]
    fn the_oldest_go_and_those_after_a_number_come_in_their_order() {
        let events = Events::default();
        let subscriber = tracing_subscriber::registry().with(events.layer());
        tracing::subscriber::with_default(subscriber, || {
            for number in 1..=100 {
                info!("event {number}: {}", "x".repeat(10_000));
            }
        });
        assert_eq!(events.all().len(), KEPT);
        assert!(events.all()[0].message.len() <= LONGEST_TEXT);
        let numbers =
            |of: u64| -> Vec<_> { events.after(of).iter().map(|event| event.number).collect() };
        assert_eq!(numbers(98), [99, 100]);
        assert_eq!(numbers(100), [0; 0]);
        assert_eq!(numbers(0), (51..=100).collect::<Vec<_>>());
    }
}
