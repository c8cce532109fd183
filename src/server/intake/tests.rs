use std::net::SocketAddr;

use prometheus::Registry;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::super::metrics::ServerMetrics;
use super::*;
use crate::drain::{Drain, channel};

const PATIENCE: Duration = Duration::from_secs(5);

/// The first of several workers' intakes at work.
struct Accepting {
    address: SocketAddr,
    others: Vec<Intake>,
    started: mpsc::UnboundedReceiver<Accepted>,
    registry: Registry,
    drain: Drain,
    watch: DrainWatch,
}

impl Accepting {
    fn start(workers: usize, max_connections: usize) -> Self {
        let listener = Listener::bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let Listening::Tcp(socket) = &listener.socket else {
            panic!("it was bound to an address")
        };
        let address = socket.local_addr().unwrap();
        let registry = Registry::new();
        let metrics = ServerMetrics::register(&registry).unwrap();
        let metrics = metrics.for_listener("proxy");
        let mut intakes = spread(vec![listener], workers, max_connections, metrics);
        let others = intakes.split_off(1);
        let (start, started) = mpsc::unbounded_channel();
        let (drain, watch) = channel();
        for first in intakes {
            let (start, watch) = (start.clone(), watch.clone());
            tokio::task::spawn_local(first.each(watch, move |it| drop(start.send(it))));
        }
        Self {
            address,
            others,
            started,
            registry,
            drain,
            watch,
        }
    }

    async fn call(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Waits until so many connections have been taken, or had to wait.
    async fn counted(&self, what: &str, wanted: f64) {
        let name = format!("gatepass_listener_connections_{what}_total");
        let is_there = || {
            let families = self.registry.gather();
            let family = families.iter().find(|family| family.name() == name);
            family.is_some_and(|it| it.get_metric()[0].get_counter().get_value() >= wanted)
        };
        let waiting = async {
            while !is_there() {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, waiting).await.expect("it is counted");
    }

    /// The next connection that is served by this worker.
    async fn started(&mut self) -> Accepted {
        let next = timeout(PATIENCE, self.started.recv()).await;
        next.expect("it is served").expect("it is served")
    }
}

#[tokio::test(flavor = "local")]
async fn what_another_worker_takes_no_more_is_served_here() {
    let mut accepting = Accepting::start(2, 10);
    for other in &mut accepting.others {
        let Kind::Handed(handed) = &mut other.0 else {
            panic!("the first accepts")
        };
        // As it does when it sees before the one that accepts that the drain has begun.
        handed.close();
    }
    for _ in 0..4 {
        let _caller = accepting.call().await;
        accepting.started().await;
    }
}

#[tokio::test(flavor = "local")]
async fn one_on_its_way_to_another_worker_is_served_when_the_drain_begins() {
    let mut accepting = Accepting::start(2, 1_000);
    let mut callers = Vec::new();
    // The other one is busy; as many wait for it as may, and one more.
    let taken = 2 * (HANDED_AT_ONCE + 1);
    for _ in 0..taken {
        callers.push(accepting.call().await);
    }
    accepting.counted("accepted", taken as f64).await;
    callers.push(accepting.call().await);
    accepting.drain.begin();
    let (start, mut taken) = mpsc::unbounded_channel();
    for other in accepting.others.drain(..) {
        let start = start.clone();
        let watch = accepting.watch.clone();
        tokio::task::spawn_local(other.each(watch, move |it| drop(start.send(it))));
    }
    drop(start);
    let mut served = 0;
    while taken.recv().await.is_some() {
        served += 1;
    }
    while served < callers.len() {
        accepting.started().await;
        served += 1;
    }
}

#[tokio::test(flavor = "local")]
async fn one_that_waits_for_a_place_is_served_when_one_is_free_though_the_drain_has_begun() {
    let mut accepting = Accepting::start(1, 1);
    let _callers = (accepting.call().await, accepting.call().await);
    let _in_the_queue = accepting.call().await;
    let first = accepting.started().await;
    accepting.counted("waited", 1.0).await;
    accepting.drain.begin();
    tokio::task::yield_now().await;
    drop(first);
    drop(accepting.started().await);
    drop(accepting.started().await);
}
