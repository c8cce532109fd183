//! Promise: under high load and all kinds of faults at once, for as long as one likes, memory and
//! descriptors stay where they were, and the control plane answers.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::support::authorization_server::reset;
use crate::support::{AuthorizationServer, Gatepass, Reply, Upstream, get, simple_config};
use crate::traffic::Traffic;

/// What a minute looked like.
#[derive(Debug, Clone, Copy)]
struct Minute {
    memory_kib: u64,
    descriptors: f64,
    answered: u64,
    slowest_probe: Duration,
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_grows() {
    let minutes: usize = match std::env::var("GATEPASS_SOAK_MINUTES") {
        Ok(minutes) => minutes.parse().unwrap(),
        Err(_) => 10,
    };
    let provider = AuthorizationServer::start();
    // Refreshed every seven seconds or so, with time enough to try again.
    provider.otherwise(Reply::Token(10.0));
    let upstream = Upstream::start().await;
    let bad = bad_upstream().await;
    let config = |version: usize| {
        format!(
            "proxy.timeouts = {{ header_read = \"2s\", keep_alive = \"3s\" }}\n{}\n\
             headers = {{ x-version = \"{version}\" }}\n\
             [[routes]]\npath = \"/bad\"\nupstream = \"http://{bad}\"\ncredential = \"none\"\n\
             timeouts = {{ response_head = \"500ms\", idle = \"500ms\" }}\n",
            simple_config(&provider, &upstream)
        )
    };
    let gatepass = Gatepass::start_with(&config(0), &[("GATEPASS__LOG__LEVEL", "info")])
        .ready()
        .await;
    let traffic = Traffic::start(gatepass.proxy(), &["/"], 32, Duration::ZERO);

    let mut seen = Vec::new();
    let mut asked_before_fault = 0;
    // The shortest run has a first and a last part as well.
    let parts = minutes.max(2);
    let part =
        Duration::from_secs(60) * u32::try_from(minutes).unwrap() / u32::try_from(parts).unwrap();
    for number in 0..parts {
        let (start, answered) = (Instant::now(), traffic.answered());
        let mut slowest_probe = Duration::ZERO;
        let (mut memory_kib, mut descriptors) = (0, 0.0_f64);
        let mut round = 0;
        while start.elapsed() < part {
            round += 1;
            // The one before is over: an outage that outlives a token is not what this is about.
            if provider.count() > asked_before_fault + 1 {
                asked_before_fault = provider.count();
                provider.plan([fault()]);
            }
            trouble(&gatepass).await;
            if round % 5 == 0 {
                gatepass.write_config(&config(number * 1_000 + round));
                gatepass.signal(rustix::process::Signal::HUP);
            }
            let probed = Instant::now();
            assert_eq!(get(gatepass.admin(), "/livez").await.status(), 200);
            slowest_probe = slowest_probe.max(probed.elapsed());
            memory_kib = memory_kib.max(gatepass.resident_memory_kib());
            descriptors = descriptors.max(gatepass.metric("process_open_fds").await);
        }
        let minute = Minute {
            memory_kib,
            descriptors,
            answered: traffic.answered() - answered,
            slowest_probe,
        };
        println!("{number}: {minute:?}");
        seen.push(minute);
    }

    let account = traffic.stop().await;
    println!("{} requests, {} lost", account.answered, account.lost.len());
    assert_eq!(account.lost, Vec::<String>::new());
    let (first, last) = (seen[0], seen[seen.len() - 1]);
    // The first part warms up; one in ten more is noise of the allocator.
    let allowed = first.memory_kib + first.memory_kib / 10;
    assert!(last.memory_kib <= allowed, "{first:?} {last:?}");
    assert!(
        last.descriptors <= first.descriptors + 20.0,
        "{first:?} {last:?}"
    );
    let slowest = seen
        .iter()
        .map(|minute| minute.slowest_probe)
        .max()
        .unwrap();
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    // A refresher that a flood delays would have let the token run out.
    let failures = r#"gatepass_rejections_total{reason="no_token",route="root"}"#;
    assert_eq!(gatepass.metric(failures).await, 0.0);
}

/// What a provider does in the place of an answer.
fn fault() -> Reply {
    let faults = [
        Reply::HangUp,
        Reply::Json(503, "{}".into()),
        Reply::Reset(b"HTTP/1.1 200".to_vec()),
        Reply::Bytes(vec![b' '; 300_000]),
    ];
    faults[fastrand::usize(..faults.len())].clone()
}

/// Callers of every bad kind, all at once.
async fn trouble(gatepass: &Gatepass) {
    let proxy = gatepass.proxy();
    let mut callers = JoinSet::new();
    for number in 0..60 {
        callers.spawn(async move {
            let mut caller = TcpStream::connect(proxy).await.unwrap();
            let said: &[u8] = match number % 6 {
                0 => b"",
                1 => b"GET /bad HTTP/1.1\r\nHost: localhost\r\n",
                2 => b"nonsense\r\n\r\n",
                3 => b"PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf",
                _ => b"GET /bad HTTP/1.1\r\nHost: localhost\r\n\r\n",
            };
            let _ = caller.write_all(said).await;
            sleep(Duration::from_millis(fastrand::u64(..800))).await;
            if fastrand::bool() {
                let _ = reset(caller);
            }
        });
    }
    callers.join_all().await;
}

/// Takes connections and does one thing or another wrong with each.
async fn bad_upstream() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let half = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nhalf";
                let kind = fastrand::u8(..5);
                let said: &[u8] = match kind {
                    0 => b"",
                    1 => b"HTTP/1.1 200 OK\r\nX: ",
                    2 => b"nonsense\r\n\r\n",
                    _ => half,
                };
                let _ = stream.write_all(said).await;
                sleep(Duration::from_millis(fastrand::u64(..1_500))).await;
                if kind % 2 == 0 {
                    let _ = reset(stream);
                }
            });
        }
    });
    address
}
