//! The composition root: from settings to a running gatepass. This is where the rooms meet.

mod error;
mod keeper;
mod reload;
mod stopping;

use std::fmt;
use std::future::pending;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus::{IntCounterVec, Opts, Registry};
use tokio::sync::{Notify, RwLock};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tracing::{error, info, warn};

use crate::config::{Layers, Listen, Settings};
use crate::drain::{self, DrainWatch};
use crate::proxy;
use crate::proxy::RequestLimit;
use crate::proxy::metrics::ProxyMetrics;
use crate::readiness::{Finding, Readiness, StartupGuard};
use crate::runtime::{self, Workers, supervise};
use crate::server::{
    self, Activated, Address, Intake, Listener, ListenerMetrics, ServerMetrics, ServerTls,
    UnixAccess,
};
use crate::signal::Signals;
use crate::store::{Standings, Stores, StoresMetrics};
use crate::telemetry::{Events, Log};
use crate::token::metrics::TokenMetrics;
use crate::token::{Credentials, TokenReader, TokenState, heartbeat};
use crate::traces::{self, Exporter, TraceMetrics};
use crate::{admin, systemd};
pub use error::{BuildError, RunError};
use reload::{Parts, ReloadMetrics, Reloader, Standing};
pub use stopping::Ended;
use stopping::{Cause, Stopping, stop_asked};

/// Everything built and every address bound; nothing runs yet.
pub struct Bound {
    proxy: Vec<Address>,
    admin: Address,
    intakes: Vec<Intake>,
    admin_listener: Listener,
    admin_connections: ListenerMetrics,
    data_plane: proxy::Shared,
    connections: server::Settings,
    quit: bool,
    show_subject: bool,
    events: Events,
    event_streams: usize,
    /// Told when somebody orders the end.
    order: Arc<Notify>,
    registry: Registry,
    restarts: IntCounterVec,
    readiness: Readiness,
    listeners_starting: StartupGuard,
    reloader: Reloader,
    /// Held for reading by refreshers during attempts that must finish.
    at_work: Rc<RwLock<()>>,
    /// What there is to say about stores.
    standings: Standings,
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
    let restarts = IntCounterVec::new(
        Opts::new(
            "gatepass_background_task_restarts_total",
            "How often a background task had to be started again after a fault of gatepass.",
        ),
        &["task"],
    )?;
    registry.register(Box::new(restarts.clone()))?;
    let server_metrics = ServerMetrics::register(&registry)?;
    let parts = Parts {
        token_metrics: TokenMetrics::register(&registry)?,
        proxy_metrics: ProxyMetrics::register(&registry)?,
        stores: Stores::new(settings.stores.clone(), StoresMetrics::register(&registry)?),
        at_work: Rc::default(),
    };
    let standing = Standing::new(ReloadMetrics::register(&registry)?);
    let readiness = Readiness::default();

    let mut activated = Activated::from_environment().map_err(BuildError::Activation)?;
    let (admin, admin_listener) = bind_admin(settings.admin.clone(), &mut activated)?;
    // One certificate for all that speak TLS.
    let tls = settings
        .proxy
        .tls()
        .map(|config| Arc::new(ArcSwap::new(config)));
    let mut proxy = Vec::new();
    let mut listeners = Vec::new();
    for listen in settings.proxy.listen.clone() {
        let access = settings.proxy.unix;
        for (address, listener) in bind_proxy(listen, tls.as_ref(), access, &mut activated)? {
            proxy.push(address);
            listeners.push(listener);
        }
    }
    let connections = within_descriptors(settings.proxy.connections);
    let workers = settings.proxy.workers;
    let (quit, show_subject) = (settings.quit, settings.show_subject);
    let event_streams = settings.event_streams;
    let at_work = Rc::clone(&parts.at_work);
    let standings = parts.stores.standings();
    let unmatched = parts.proxy_metrics.for_unmatched();
    let trace_metrics = TraceMetrics::register(&registry)?;
    let traced = settings.traces.clone();
    let traced = traced.map(|settings| traces::channel(settings, &trace_metrics));
    let (tracer, exporter) = traced.transpose()?.unzip();
    let limit = RequestLimit::new(settings.proxy.max_requests);
    let reloader = Reloader::new(settings, layers, parts, tls, &readiness, standing.clone())?;
    let credentials = reloader.credentials().clone();
    readiness.require({
        let credentials = credentials.clone();
        move || findings(&credentials, TokenState::why_unusable)
    });
    readiness.remark({
        let credentials = credentials.clone();
        move || findings(&credentials, TokenState::remark)
    });
    readiness.remark({
        let standings = standings.clone();
        move || troubles(&credentials, &standings)
    });
    readiness.remark(move || standing.findings());
    Ok(Bound {
        proxy,
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
            unmatched,
            tracer,
        },
        connections,
        quit,
        show_subject,
        events: log.events(),
        event_streams,
        order: Arc::default(),
        registry,
        restarts,
        listeners_starting: readiness.startup("listeners"),
        readiness,
        reloader,
        at_work,
        standings,
        exporter,
    })
}

/// What there is to say about each credential.
fn findings(
    credentials: &Credentials,
    look: impl Fn(&TokenState) -> Option<String>,
) -> Vec<Finding> {
    let finding = |reader: &TokenReader| {
        let subject = format!("credential \"{}\"", reader.credential());
        look(&reader.load()).map(|reason| Finding { subject, reason })
    };
    credentials.all().iter().filter_map(finding).collect()
}

/// What there is to say about the stores of credentials that are at work.
fn troubles(credentials: &Credentials, standings: &Standings) -> Vec<Finding> {
    let finding = |reader: &TokenReader| {
        let name = reader.credential();
        let trouble = standings.of(name).trouble?;
        Some(Finding {
            subject: format!("credential \"{name}\""),
            reason: format!(
                "shares no tokens: {trouble}; until that is mended, this replica asks the provider \
                 by itself"
            ),
        })
    };
    credentials.all().iter().filter_map(finding).collect()
}

fn bind_admin(
    wanted: Address,
    activated: &mut Activated,
) -> Result<(Address, Listener), BuildError> {
    let mut bound = bind("admin", wanted.clone(), UnixAccess::default(), activated)?;
    let several = || io::Error::other("several sockets were handed over, and one is needed");
    match (bound.pop(), bound.is_empty()) {
        (Some(only), true) => Ok(only),
        _ => Err(BuildError::listen("admin", wanted, several())),
    }
}

fn bind_proxy(
    listen: Listen,
    tls: Option<&ServerTls>,
    access: UnixAccess,
    activated: &mut Activated,
) -> Result<Vec<(Address, Listener)>, BuildError> {
    let bound = bind("proxy", listen.address, access, activated)?;
    let with_tls = |(address, listener): (Address, Listener)| {
        // Where systemd has bound its sockets was not to be known before.
        if !address.is_local() && !listen.is_guarded {
            return Err(BuildError::Exposed(address));
        }
        Ok(match tls.filter(|_| listen.tls.is_some()) {
            Some(tls) => (address, listener.with_tls(Arc::clone(tls))),
            None => (address, listener),
        })
    };
    bound.into_iter().map(with_tls).collect()
}

fn bind(
    listener: &'static str,
    wanted: Address,
    access: UnixAccess,
    activated: &mut Activated,
) -> Result<Vec<(Address, Listener)>, BuildError> {
    let bound = Listener::bind(&wanted, access, activated).and_then(|bound| {
        let with_address = |bound: Listener| Ok((bound.address()?, bound));
        bound.into_iter().map(with_address).collect()
    });
    bound.map_err(|error| BuildError::listen(listener, wanted, error))
}

/// A busy caller costs two descriptors, its own and the upstream's. Without this, too many callers
/// would leave none for token requests and probes.
fn within_descriptors(wanted: server::Settings) -> server::Settings {
    let limit = runtime::raise_descriptor_limit();
    let affordable = (limit.saturating_sub(RESERVED_DESCRIPTORS) / 2).max(1);
    if affordable < wanted.max_connections {
        warn!(
            open_files = limit,
            wanted = wanted.max_connections,
            connections = affordable,
            "the limit of open files allows fewer connections than proxy.limits.connections; \
             raise it (ulimit -n, LimitNOFILE) or lower the other"
        );
    }
    server::Settings {
        max_connections: wanted.max_connections.min(affordable),
        ..wanted
    }
}

impl Bound {
    /// Where callers are served.
    pub fn proxy_addresses(&self) -> &[Address] {
        &self.proxy
    }

    /// Where operators are served.
    pub fn admin_address(&self) -> &Address {
        &self.admin
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
        supervised("clocks", &self.restarts, move || {
            heartbeat::watch(credentials.clone())
        });
        supervised("systemd watchdog", &self.restarts, systemd::watchdog);
        let reloading = supervised("reload", &self.restarts, {
            let reloader = Rc::clone(&reloader);
            move || Rc::clone(&reloader).run()
        });
        tokio::task::spawn_local({
            let readiness = self.readiness.clone();
            async move {
                readiness.started().await;
                systemd::ready();
            }
        });
        let exporter = self.exporter.map(Rc::new);
        if let Some(exporter) = &exporter {
            let (exporter, credentials) = (Rc::clone(exporter), reloader.credentials().clone());
            supervised("traces", &self.restarts, move || {
                let (exporter, credentials) = (Rc::clone(&exporter), credentials.clone());
                async move { exporter.run(&credentials).await }
            });
        }
        let order = self.order;
        // The admin listener outlives the data plane's drain, so that the drain can be watched.
        let (admin_drain, admin_watch) = drain::channel();
        let trends = Rc::new(admin::Trends::default());
        supervised("status", &self.restarts, {
            let (trends, registry) = (Rc::clone(&trends), self.registry.clone());
            move || {
                let (trends, registry) = (Rc::clone(&trends), registry.clone());
                async move { trends.watch(&registry).await }
            }
        });
        let admin = admin::Admin {
            trends,
            registry: self.registry,
            readiness: self.readiness.clone(),
            credentials: reloader.credentials().clone(),
            standings: self.standings,
            published: reloader.published(),
            configuration: reloader.shown(),
            started: Instant::now(),
            // Whoever reaches another address may look, but not act.
            commands: self.admin.is_local(),
            quit: self.quit.then(|| Arc::clone(&order)),
            show_subject: self.show_subject,
            subscribers: admin::Subscribers::new(
                self.events,
                self.event_streams,
                admin_watch.clone(),
            ),
        };
        let admin_ended = serve_admin(
            self.admin_listener,
            self.admin_connections,
            admin,
            admin_watch,
            &self.restarts,
        );
        let (drain, watch) = drain::channel();
        let mut workers = Workers::default();
        for intake in self.intakes {
            let shared = self.data_plane.clone();
            let (connections, watch) = (self.connections, watch.clone());
            let started = workers.start(async move || {
                let refuse = proxy::refuse(shared.clone());
                let service = proxy::service(shared);
                server::serve(intake, service, refuse, connections, watch).await;
            });
            started.map_err(RunError::Worker)?;
        }
        drop(self.listeners_starting);
        info!(
            proxy = %Listed(&self.proxy),
            admin = %self.admin,
            version = env!("CARGO_PKG_VERSION"),
            "listening"
        );

        let cause = tokio::select! {
            signal = stop_asked(&mut signals, &reloader) => Cause::Signal(signal),
            () = order.notified() => Cause::Order,
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
            at_work: self.at_work,
            times: reloader.times(),
        };
        let ended = stopping.stop(cause, &mut signals).await;
        // Those who follow the events are told that there are no more.
        admin_drain.begin();
        let _ = timeout(ADMIN_GRACE, admin_ended.notified()).await;
        if let (Ok(Ended::Drained), Some(exporter)) = (&ended, exporter) {
            exporter.finish(reloader.credentials()).await;
        }
        ended
    }
}

fn serve_admin(
    listener: Listener,
    metrics: ListenerMetrics,
    admin: admin::Admin,
    drain: DrainWatch,
    restarts: &IntCounterVec,
) -> Rc<Notify> {
    let service = admin::service(admin);
    let ended = Rc::new(Notify::new());
    let told = Rc::clone(&ended);
    let settings = server::Settings {
        max_connections: ADMIN_CONNECTIONS,
        stalled: ADMIN_STALLED,
        ..server::Settings::default()
    };
    supervised("admin listener", restarts, move || {
        let (service, drain, metrics) = (service.clone(), drain.clone(), metrics.clone());
        let ended = Rc::clone(&told);
        // The address stays bound whatever becomes of the task.
        let listener = listener.try_clone();
        async move {
            match listener {
                Ok(listener) => {
                    let intake = server::alone(listener, settings.max_connections, metrics);
                    server::serve(intake, service, server::refuse_briefly(), settings, drain).await;
                    // That was all: it is not to be started again.
                    ended.notify_one();
                    pending::<()>().await;
                }
                Err(error) => error!(%error, "the admin listener cannot be used"),
            }
        }
    });
    ended
}

/// Runs a task of the control plane for ever; see [`supervise`].
fn supervised<Fut>(
    task: &'static str,
    restarts: &IntCounterVec,
    start: impl FnMut() -> Fut + 'static,
) -> JoinHandle<()>
where
    Fut: Future<Output: 'static> + 'static,
{
    let restarts = restarts.with_label_values(&[task]);
    tokio::task::spawn_local(supervise(start, move || {
        restarts.inc();
        error!(
            task,
            "a background task failed by a fault of gatepass and starts again"
        );
    }))
}

/// Addresses side by side.
struct Listed<'a>(&'a [Address]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, address) in self.0.iter().enumerate() {
            let comma = if position > 0 { ", " } else { "" };
            write!(f, "{comma}{address}")?;
        }
        Ok(())
    }
}

/// For token requests, probes, scrapes, look-ups and what the runtimes need.
const RESERVED_DESCRIPTORS: usize = 200;

/// Probes and scrapes; more at once is a mistake or an attack.
const ADMIN_CONNECTIONS: usize = 100;

/// For one who follows the events and takes nothing more.
const ADMIN_STALLED: Duration = Duration::from_secs(30);

/// For its last answers to end, once all else has.
const ADMIN_GRACE: Duration = Duration::from_millis(500);
