//! A scrape of many routes and credentials is quick, and no request notices it. In a release build it
//! takes less than 5 ms: `benches/compare/scrape.py` measures that.

use std::fmt::Write;
use std::time::Duration;

use http::Request;
use http_body_util::Full;
use tokio::time::Instant;

use crate::support::{AuthorizationServer, Gatepass, Load, Upstream, get, request, simple_config};

const ROUTES: usize = 50;
const CREDENTIALS: usize = 20;

/// A debug build on a busy machine; a scrape that looked things up anew for each line would take
/// longer.
const LIMIT: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread")]
async fn many_routes_and_credentials_are_scraped_while_requests_go_on() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let mut config = simple_config(&provider, &upstream);
    for number in 1..CREDENTIALS {
        write!(
            config,
            "\n[credentials.c{number}]\ntoken_endpoint = \"{}\"\nclient_id = \"c{number}\"\n\
             client_secret = \"canary\"\n",
            provider.token_endpoint()
        )
        .unwrap();
    }
    for number in 1..ROUTES {
        write!(
            config,
            "\n[[routes]]\npath = \"/{number}\"\nupstream = \"{}\"\ncredential = \"c{}\"\n",
            upstream.origin(),
            1 + number % (CREDENTIALS - 1)
        )
        .unwrap();
    }
    let gatepass = Gatepass::start(&config).ready().await;
    for number in 1..ROUTES {
        let answer = get(gatepass.proxy(), &format!("/{number}")).await;
        assert_eq!(answer.status(), 200);
    }
    let load = Load::start(gatepass.proxy(), 2);
    for accepted in ["text/plain", "application/openmetrics-text"] {
        let mut times: Vec<_> = Vec::new();
        for _ in 0..20 {
            let scrape = Request::get("/metrics").header("host", "localhost");
            let scrape = scrape.header("accept", accepted).body(Full::default());
            let begun = Instant::now();
            let answer = request(gatepass.admin(), scrape.unwrap()).await;
            times.push(begun.elapsed());
            for line in [
                format!(
                    "gatepass_request_duration_seconds_count{{route=\"{}\"}} 1",
                    ROUTES - 1
                ),
                format!(
                    "gatepass_token_usable{{credential=\"c{}\"}} 1",
                    CREDENTIALS - 1
                ),
            ] {
                assert!(answer.body().contains(&format!("\n{line}\n")), "{line}");
            }
        }
        times.sort();
        let median = times[times.len() / 2];
        assert!(median < LIMIT, "{accepted}: {times:?}");
    }
    assert_eq!(load.stop().await, []);
}
