//! What the parts of a request's way cost that need no socket: finding its route, changing its
//! head, putting the token in, counting it.
//!
//! `benches/README.md` says how to run it and what its figures are good for.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark that meets the unexpected should stop right there"
)]

mod subject;

use std::time::Duration;

use divan::{Bencher, black_box, black_box_drop};
use gatepass::proxy::{self, Found, Present, RouteTable};
use http::{HeaderMap, Method, StatusCode};
use prometheus::Registry;
use tokio::time::Instant;

fn main() {
    // One at a time the clock could not tell them apart, and a page fault would count as one of them.
    let divan = divan::Divan::default();
    divan
        .sample_count(1000)
        .sample_size(100)
        .config_with_args()
        .main();
}

/// Few routes, as beside one application, and as many as a shared proxy may have.
const ROUTES: [usize; 2] = [3, 200];

/// Finding the route of a request. Always the last one that is looked at: the order is the table's
/// own, and the others cost less.
mod route {
    use super::*;

    #[divan::bench(args = ROUTES)]
    fn by_path(bencher: Bencher, routes: usize) {
        let table = subject::table(routes, |n| format!("path = \"/service-{n:03}\""));
        let path = format!("/service-{:03}/orders/7", routes - 1);
        find(bencher, &table, "localhost", &path);
    }

    /// Every route but one has a longer prefix, which has to be looked at before.
    #[divan::bench(args = ROUTES)]
    fn by_longest_prefix(bencher: Bencher, routes: usize) {
        let table = subject::table(routes, |n| match n {
            0 => "path = \"/orders\"".to_owned(),
            n => format!("path = \"/orders/{n:03}\""),
        });
        find(bencher, &table, "localhost", "/orders/today");
    }

    #[divan::bench(args = ROUTES)]
    fn by_host(bencher: Bencher, routes: usize) {
        let table = subject::table(routes, |n| {
            format!("path = \"/\"\nhost = \"{n:03}.example\"")
        });
        let host = format!("{:03}.example", routes - 1);
        find(bencher, &table, &host, "/orders/7");
    }

    /// A path that servers read in more than one way is looked up twice.
    #[divan::bench(args = ROUTES)]
    fn by_path_with_escapes(bencher: Bencher, routes: usize) {
        let table = subject::table(routes, |n| format!("path = \"/service-{n:03}\""));
        let path = format!("/service-{:03}/orders/M%C3%BCnchen", routes - 1);
        find(bencher, &table, "localhost", &path);
    }

    fn find(bencher: Bencher, table: &RouteTable, host: &str, path: &str) {
        let last = table.routes().count() - 1;
        let found = table.find(host, path, &Method::GET);
        assert!(matches!(found, Found::Route(index, _) if index == last));
        bencher.bench_local(|| {
            black_box_drop(table.find(black_box(host), black_box(path), &Method::GET));
        });
    }
}

/// Turning the head that came into the one that goes on; the prefix is taken off the path.
mod head {
    use super::*;

    #[divan::bench]
    fn of_15_fields(bencher: Bencher) {
        prepare(bencher, &[("accept-language", "en")]);
    }

    /// One of the fields says what concerns the connection, as most libraries send it.
    #[divan::bench]
    fn of_15_fields_with_keep_alive(bencher: Bencher) {
        prepare(bencher, &[("connection", "keep-alive")]);
    }

    /// The same and all that can be said of one hop.
    #[divan::bench]
    fn of_15_fields_and_6_of_one_hop(bencher: Bencher) {
        prepare(
            bencher,
            &[
                ("accept-language", "en"),
                ("connection", "keep-alive, te, x-of-this-hop"),
                ("keep-alive", "timeout=5"),
                ("proxy-connection", "keep-alive"),
                ("te", "trailers"),
                ("upgrade", "h2c"),
                ("x-of-this-hop", "1"),
            ],
        );
    }

    fn prepare(bencher: Bencher, besides: &[(&'static str, &'static str)]) {
        let route = subject::route(None);
        let body = subject::empty_body();
        bencher
            .with_inputs(|| subject::head(besides))
            .bench_local_refs(|head| {
                let present = Present::of(&head.headers);
                proxy::prepare_request(head, present, &body, &route).is_ok()
            });
    }
}

mod token {
    use super::*;

    #[divan::bench]
    fn load(bencher: Bencher) {
        let (_writer, reader) = subject::token();
        bencher.bench_local(|| black_box(reader.load()).generation());
    }

    /// Loading it, looking whether its end has come, and putting it in the place of what the caller
    /// sent.
    #[divan::bench]
    fn authorize(bencher: Bencher) {
        let (_writer, reader) = subject::token();
        let route = subject::route(Some(reader));
        let fields = || subject::head(&[("authorization", "Bearer of-the-caller")]).headers;
        let now = Instant::now();
        let authorize = |fields: &mut HeaderMap| proxy::authorize(&route, fields, now, None).ok();
        assert_eq!(authorize(&mut fields()), Some(Some(1)));
        bencher.with_inputs(fields).bench_local_refs(authorize);
    }
}

/// All that is counted of every request, from its begin to its end; reading the clock is not in it.
#[divan::bench]
fn record(bencher: Bencher) {
    let metrics = subject::metrics(&Registry::new()).for_route("api");
    let (now, upstream) = (Instant::now(), Some(Duration::from_millis(3)));
    let took = Duration::from_micros(40);
    bencher.bench_local(|| {
        let mut in_flight = metrics.begin(black_box(now), None);
        metrics.took(black_box(took), black_box(upstream));
        in_flight.answered(black_box(StatusCode::OK));
        in_flight.ends(now + took);
    });
}
