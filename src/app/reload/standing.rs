//! What operators see of reloads.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::{IntCounter, IntGauge, Registry};

use crate::metric;
use crate::readiness::Finding;
use crate::token::TokenReader;

/// How what runs stands to what is written. Clones are the same.
#[derive(Clone)]
pub(in crate::app) struct Standing {
    metrics: ReloadMetrics,
    open: Arc<Mutex<Open>>,
}

/// What is not as it is written.
#[derive(Default)]
struct Open {
    mistake: Option<String>,
    waits_for: Option<TokenReader>,
    restart: Vec<String>,
}

impl Standing {
    pub(in crate::app) fn new(metrics: ReloadMetrics) -> Self {
        Self {
            metrics,
            open: Arc::default(),
        }
    }

    /// For an operator who asks whether all is well.
    pub(in crate::app) fn findings(&self) -> Vec<Finding> {
        let open = self.open();
        let finding = |reason| Finding {
            subject: "the configuration".into(),
            reason,
        };
        let mistake = open.mistake.as_ref().map(|mistake| {
            format!("was changed and is not taken up, what runs is from before: {mistake}")
        });
        let waits_for = open.waits_for.as_ref().map(|of| {
            let (name, why) = (of.credential(), of.load().why_not_sent());
            format!("was changed and waits for the first token: credential \"{name}\" {why}")
        });
        let keys = open.restart.join(", ");
        let restart = match keys.as_str() {
            "" => None,
            keys => Some(format!(
                "was changed, and takes a restart to take effect in: {keys}"
            )),
        };
        let all = [mistake, waits_for, restart];
        all.into_iter().flatten().map(finding).collect()
    }

    pub(super) fn refused(&self, mistake: &str) {
        let mut open = self.open();
        open.mistake = Some(mistake.to_owned());
        open.waits_for = None;
        self.metrics.failures.inc();
        self.metrics.successful.set(0);
    }

    /// It may wait for ever, and whoever watches the metrics is to know.
    pub(super) fn waits_for(&self, reader: TokenReader) {
        let mut open = self.open();
        open.mistake = None;
        open.waits_for = Some(reader);
        self.metrics.successful.set(0);
    }

    pub(super) fn taken_up(&self, restart: Vec<String>) {
        *self.open() = Open {
            restart,
            ..Open::default()
        };
        self.metrics.successes.inc();
        self.metrics.successful.set(1);
    }

    /// What is written is what runs. `true` if there was a mistake in it before.
    pub(super) fn unchanged(&self) -> bool {
        let mut open = self.open();
        let is_mended = open.mistake.take().is_some();
        open.waits_for = None;
        self.metrics.successful.set(1);
        is_mended
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What reloads count.
#[derive(Clone)]
pub(in crate::app) struct ReloadMetrics {
    successes: IntCounter,
    failures: IntCounter,
    successful: IntGauge,
}

impl ReloadMetrics {
    /// Makes the metrics and registers them.
    pub(in crate::app) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let reloads = metric::counters(
            registry,
            "gatepass_config_reloads_total",
            "Changed configurations, by whether they were taken up.",
            &["outcome"],
        )?;
        let successful = IntGauge::new(
            "gatepass_config_last_reload_successful",
            "1 while the configuration could be taken up as it is written, 0 while it has a mistake or \
             waits for a first token.",
        );
        let successful = metric::registered(registry, successful)?;
        successful.set(1);
        Ok(Self {
            successes: reloads.with_label_values(&["success"]),
            failures: reloads.with_label_values(&["failure"]),
            successful,
        })
    }
}
