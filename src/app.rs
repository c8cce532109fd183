//! The composition root: from settings to a running gatepass. This is where the rooms meet.

mod error;
mod findings;
mod keeper;
mod listeners;
mod operators;
mod reload;
mod stopping;

use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus::{IntCounterVec, Registry};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{error, info};

use crate::config::{self, Layers, Settings};
use crate::drain::{self, DrainWatch};
use crate::proxy;
use crate::proxy::Limit;
use crate::proxy::metrics::ProxyMetrics;
use crate::readiness::{Readiness, StartupGuard};
use crate::runtime::{Workers, spawn, supervise};
use crate::server::{self, Activated, Address, Intake, Listener, ListenerMetrics, ServerMetrics};
use crate::signal::Signals;
use crate::store::{Stores, StoresMetrics};
use crate::telemetry::{Events, Log};
use crate::token::metrics::TokenMetrics;
use crate::token::{Credentials, heartbeat};
use crate::traces::{self, Exporter, TraceMetrics};
use crate::{admin, memory, metric, systemd};
pub use error::{BuildError, RunError};
use listeners::Opened;
use operators::Operators;
use reload::{Parts, ReloadMetrics, Reloader, Standing};
pub use stopping::Ended;
use stopping::{Cause, Stopping, stop_asked};

/// Everything built and every address bound; nothing runs yet.
pub struct Bound {
    proxy: Vec<Address>,
    /// The same for people, with how they are spoken on.
    listed: String,
    admin: config::Admin,
    intakes: Vec<Intake>,
    admin_listener: Listener,
    admin_connections: ListenerMetrics,
    data_plane: proxy::Shared,
    connections: server::Settings,
    events: Events,
    /// Told when somebody orders the end.
    order: Arc<Notify>,
    registry: Registry,
    restarts: IntCounterVec,
    readiness: Readiness,
    listeners_starting: StartupGuard,
    reloader: Reloader,
    /// Sends traces, if there are to be any.
    exporter: Option<Exporter>,
}

/// Puts everything together and binds the addresses. `layers` are what `settings` were read from, for
/// reloads; what `log` says of itself is shown to operators.
///
/// # Errors
///
/// An address cannot be had, or something inside does not fit together.
pub fn build(settings: Settings, layers: Layers, log: &Log) -> Result<Bound, BuildError> {
    let registry = Registry::new();
    admin::register_process_metrics(&registry, log.dropped_lines())?;
    let restarts = metric::counters(
        &registry,
        "gatepass_background_task_restarts_total",
        "How often a background task had to be started again after a fault of gatepass.",
        &["task"],
    )?;
    let server_metrics = ServerMetrics::register(&registry)?;
    let parts = Parts {
        keepers: keeper::Common {
            stores: Stores::new(settings.stores.clone(), StoresMetrics::register(&registry)?),
            metrics: TokenMetrics::register(&registry)?,
            at_work: Rc::default(),
        },
        proxy_metrics: ProxyMetrics::register(&registry)?,
    };
    let standing = Standing::new(ReloadMetrics::register(&registry)?);
    let readiness = Readiness::default();

    let mut activated = Activated::from_environment().map_err(BuildError::Activation)?;
    let (admin, admin_listener) = listeners::bind_admin(&settings.admin, &mut activated)?;
    let tls = settings.proxy.tls();
    let tls = tls.map(|config| Arc::new(ArcSwap::new(config)));
    let bound = listeners::bind_proxy(&settings.proxy, tls.as_ref(), &mut activated)?;
    let listed = listeners::listed(&bound);
    let opened = Opened::new(&bound, tls);
    let (proxy, listeners) = bound.into_iter().unzip();
    let (connections, to_upstreams) = listeners::within_descriptors(&settings.proxy);
    let workers = settings.proxy.workers;
    let unmatched = parts.proxy_metrics.for_unmatched();
    let trace_metrics = TraceMetrics::register(&registry)?;
    let traced = settings.traces.clone();
    let traced = traced.map(|settings| traces::channel(settings, &trace_metrics));
    let (tracer, exporter) = traced.transpose()?.unzip();
    let limit = Limit::new(settings.proxy.max_requests);
    let reloader = Reloader::new(
        settings,
        layers,
        parts,
        opened,
        &readiness,
        standing.clone(),
    )?;
    let standings = reloader.keepers().stores.standings();
    findings::tell(&readiness, reloader.credentials(), standings, standing);
    Ok(Bound {
        proxy,
        listed,
        admin,
        intakes: server::spread(
            listeners,
            workers,
            connections.max_connections,
            server_metrics.for_listener("proxy"),
        ),
        admin_listener,
        admin_connections: server_metrics.for_listener("admin"),
        data_plane: proxy::Shared {
            published: reloader.published(),
            limit,
            connections: Limit::new(to_upstreams),
            unmatched,
            tracer,
        },
        connections,
        events: log.events(),
        order: Arc::default(),
        registry,
        restarts,
        listeners_starting: readiness.startup("listeners"),
        readiness,
        reloader,
        exporter,
    })
}

impl Bound {
    /// Where callers are served.
    pub fn proxy_addresses(&self) -> &[Address] {
        &self.proxy
    }

    /// Where operators are served.
    pub fn admin_address(&self) -> &Address {
        &self.admin.listen
    }

    /// Whether it is ready, once it runs.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Stops it when it is notified, as a signal would.
    pub fn order_to_stop(&self) -> Arc<Notify> {
        Arc::clone(&self.order)
    }

    /// Runs until a signal asks to stop, then lets requests in flight finish within the grace
    /// period. Must be called on the control plane's runtime.
    ///
    /// # Errors
    ///
    /// A worker could not be started, or panicked.
    pub async fn run(self, mut signals: Signals) -> Result<Ended, RunError> {
        let reloader = Rc::new(self.reloader);
        reloader.start();
        let credentials = reloader.credentials().clone();
        supervised("clocks", &self.restarts, {
            let credentials = credentials.clone();
            move || heartbeat::watch(credentials.clone())
        });
        supervised("systemd watchdog", &self.restarts, systemd::watchdog);
        supervised("memory", &self.restarts, memory::give_back);
        let reloading = supervised("reload", &self.restarts, {
            let reloader = Rc::clone(&reloader);
            move || Rc::clone(&reloader).run()
        });
        spawn({
            let readiness = self.readiness.clone();
            async move {
                readiness.started().await;
                systemd::ready();
            }
        });
        let exporter = self.exporter.map(Rc::new);
        if let Some(exporter) = exporter.clone() {
            export(exporter, credentials.clone(), &self.restarts);
        }
        let order = self.order;
        let keepers = reloader.keepers();
        let admin = |ends| admin::Admin {
            trends: trends(reloader.published(), &self.restarts),
            registry: self.registry,
            readiness: self.readiness.clone(),
            credentials: credentials.clone(),
            token_metrics: keepers.metrics.clone(),
            standings: keepers.stores.standings(),
            published: reloader.published(),
            configuration: reloader.shown(),
            proxy: self.proxy,
            started: Instant::now(),
            // Whoever reaches another address may look, but not act.
            commands: self.admin.listen.is_local(),
            quit: self.admin.quit.then(|| Arc::clone(&order)),
            show_subject: self.admin.show_subject,
            subscribers: admin::Subscribers::new(self.events, self.admin.event_streams, ends),
        };
        let operators = Operators::serve(
            self.admin_listener,
            self.admin_connections,
            admin,
            &self.restarts,
        );
        let (drain, watch) = drain::channel();
        let mut workers = workers(self.intakes, &self.data_plane, self.connections, &watch)?;
        drop(self.listeners_starting);
        info!(
            proxy = self.listed,
            admin = %self.admin.listen,
            version = env!("CARGO_PKG_VERSION"),
            "listening"
        );

        let cause = tokio::select! {
            // Whoever has ordered the end may be impatient already: then the signal is the second one.
            biased;
            () = order.notified() => Cause::Order,
            signal = stop_asked(&mut signals, &reloader) => Cause::Signal(signal),
            ended = workers.next_ended() => {
                ended.unwrap_or(Ok(()))?;
                return Err(RunError::Unasked);
            }
        };
        self.readiness.stop();
        // What is reloaded in the middle of a stop could call itself ready.
        reloading.abort();
        let stopping = Stopping {
            drain,
            workers,
            at_work: Rc::clone(&keepers.at_work),
            times: reloader.times(),
        };
        let ended = stopping.stop(cause, &mut signals).await;
        operators.end().await;
        if let (Ok(Ended::Drained), Some(exporter)) = (&ended, exporter) {
            exporter.finish(&credentials).await;
        }
        ended
    }
}

/// Starts the data plane.
fn workers(
    intakes: Vec<Intake>,
    shared: &proxy::Shared,
    connections: server::Settings,
    watch: &DrainWatch,
) -> Result<Workers, RunError> {
    let mut workers = Workers::default();
    for intake in intakes {
        let (shared, watch) = (shared.clone(), watch.clone());
        let started = workers.start(async move || {
            let refuse = proxy::refuse(shared.clone());
            let service = proxy::service(shared);
            server::serve(intake, service, refuse, connections, watch).await;
        });
        started.map_err(RunError::Worker)?;
    }
    Ok(workers)
}

/// Has traces sent from now on.
fn export(exporter: Rc<Exporter>, credentials: Credentials, restarts: &IntCounterVec) {
    supervised("traces", restarts, move || {
        let (exporter, credentials) = (Rc::clone(&exporter), credentials.clone());
        async move { exporter.run(&credentials).await }
    });
}

/// Has the status follow how routes are doing from now on.
fn trends(published: Arc<ArcSwap<proxy::Routing>>, restarts: &IntCounterVec) -> Rc<admin::Trends> {
    let trends = Rc::new(admin::Trends::default());
    let watched = Rc::clone(&trends);
    supervised("status", restarts, move || {
        let (trends, published) = (Rc::clone(&watched), Arc::clone(&published));
        async move { trends.watch(&published).await }
    });
    trends
}

/// Runs a task of the control plane for ever; see [`supervise`].
fn supervised<Fut>(
    task: &'static str,
    restarts: &IntCounterVec,
    start: impl FnMut() -> Fut + 'static,
) -> JoinHandle<()>
where
    Fut: Future + 'static,
{
    let restarts = restarts.with_label_values(&[task]);
    spawn(supervise(start, move || {
        restarts.inc();
        error!(
            task,
            "a background task failed by a fault of gatepass and starts again"
        );
    }))
}
