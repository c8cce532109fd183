//! Metrics as every room makes them: one that has been made is registered, too.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use prometheus::core::Collector;
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry,
    Result,
};

/// What only grows, a counter for each combination of the labels' values.
///
/// # Errors
///
/// A metric of the same name is registered already.
pub fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec> {
    let counters = IntCounterVec::new(Opts::new(name, help), labels);
    registered(registry, counters)
}

/// What comes and goes, in whole numbers.
///
/// # Errors
///
/// A metric of the same name is registered already.
pub fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
    let gauges = IntGaugeVec::new(Opts::new(name, help), labels);
    registered(registry, gauges)
}

/// What comes and goes, in others: times are in seconds and parts of seconds.
///
/// # Errors
///
/// A metric of the same name is registered already.
pub fn float_gauges(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<GaugeVec> {
    let gauges = GaugeVec::new(Opts::new(name, help), labels);
    registered(registry, gauges)
}

/// How often what is measured lies below each of the `bounds`.
///
/// # Errors
///
/// A metric of the same name is registered already.
pub fn histograms(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
    bounds: &[f64],
) -> Result<HistogramVec> {
    let options = HistogramOpts::new(name, help).buckets(bounds.to_vec());
    registered(registry, HistogramVec::new(options, labels))
}

/// What counters have come to, by what they count; those at zero are left out.
pub type Counts = BTreeMap<&'static str, u64>;

/// What they have come to by now.
pub fn counts<'a>(counters: impl IntoIterator<Item = (&'static str, &'a IntCounter)>) -> Counts {
    let mut counts = Counts::new();
    for (of, counter) in counters {
        let count = counter.get();
        if count > 0 {
            counts.insert(of, count);
        }
    }
    counts
}

/// What is the case with something that may not be at work yet. It is kept, and once there are gauges
/// for it, it stands there. Clones are the same.
///
/// A changed credential is tried while the one that it is to replace is at work. If both wrote to the
/// gauges of their name, alerts would call one what is true of the other, for ever if the change is
/// withdrawn.
pub struct Facts<T>(Rc<RefCell<Kept<T>>>);

struct Kept<T> {
    facts: T,
    show: Option<Show<T>>,
}

type Show<T> = Box<dyn Fn(&T)>;

impl<T> Facts<T> {
    /// Nobody sees them yet.
    pub fn new(facts: T) -> Self {
        Self(Rc::new(RefCell::new(Kept { facts, show: None })))
    }

    /// Something is otherwise from now on.
    pub fn change(&self, change: impl FnOnce(&mut T)) {
        let mut kept = self.0.borrow_mut();
        change(&mut kept.facts);
        if let Some(show) = &kept.show {
            show(&kept.facts);
        }
    }

    /// Has them shown by this, now and at each change.
    pub fn show_by(&self, show: impl Fn(&T) + 'static) {
        let mut kept = self.0.borrow_mut();
        show(&kept.facts);
        kept.show = Some(Box::new(show));
    }

    /// Whether they are shown.
    pub fn are_shown(&self) -> bool {
        self.0.borrow().show.is_some()
    }

    /// What they are shown by is another's from now on.
    pub fn hide(&self) {
        self.0.borrow_mut().show = None;
    }
}

impl<T> Clone for Facts<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T: fmt::Debug> fmt::Debug for Facts<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.borrow().facts.fmt(f)
    }
}

/// What has just been made.
///
/// # Errors
///
/// It could not be made, or another of the same name is registered already.
pub fn registered<M: Collector + Clone + 'static>(
    registry: &Registry,
    made: Result<M>,
) -> Result<M> {
    let metric = made?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}
