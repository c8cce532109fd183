//! Metrics as every room makes them: one that has been made is registered, too.

use prometheus::core::Collector;
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, Result,
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
