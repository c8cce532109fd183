//! Promise: whatever an upstream has taken when SIGTERM comes is answered to the caller, under load,
//! and gatepass ends within the grace period.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use crate::server::Server;
use crate::support::{AuthorizationServer, Gatepass, Upstream, simple_config};
use crate::traffic::Traffic;

#[tokio::test(flavor = "multi_thread")]
async fn no_request_in_flight_is_lost() {
    let mut all = 0;
    let mut closed = 0;
    for round in 0..20 {
        let provider = AuthorizationServer::start();
        let plain = Upstream::start().await;
        let upstream = Server::start_with("127.0.0.1:0", None, Duration::from_millis(round % 5));
        let config = simple_config(&provider, &plain)
            .replace(&plain.origin(), &format!("http://{}", upstream.address));
        let mut gatepass = Gatepass::start_with(&config, &[("GATEPASS__LOG__LEVEL", "info")])
            .ready()
            .await;
        let traffic = Traffic::start(gatepass.proxy(), &["/"], 32, Duration::ZERO);
        traffic.goes_on().await;
        let start = Instant::now();
        gatepass.signal(Signal::TERM);
        assert_eq!(gatepass.ended().await.code(), Some(0));
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{:?}",
            start.elapsed()
        );
        let answered = traffic.stop().await;
        let taken = upstream.answered.load(Ordering::Relaxed);
        assert_eq!(
            answered.answered, taken,
            "requests that the upstream took: round {round}"
        );
        all += taken;
        let in_vain = answered.lost.iter().filter(|why| !why.contains("refused"));
        closed += in_vain.count();
    }
    // Whoever connects in the microseconds between the last look at the queue and its end.
    assert!(closed < 10, "{closed}");
    println!(
        "20 stops under load: {all} requests answered, none lost in flight; {closed} were sent on \
         connections that were being closed"
    );
}
