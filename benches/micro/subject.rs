//! What is measured, made as gatepass makes it: routes of a configuration, a head that came over a
//! socket.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use gatepass::config::{self, Layers};
use gatepass::proxy::metrics::ProxyMetrics;
use gatepass::proxy::{Route, RouteTable};
use gatepass::server::{self, Address, CallerBody, Listener, ServerMetrics};
use gatepass::token::metrics::TokenMetrics;
use gatepass::token::source::FetchedToken;
use gatepass::token::{AccessToken, Moment, RefusalSettings, TokenReader, TokenWriter, cell};
use gatepass::{drain, runtime};
use http::request::Parts;
use http::{HeaderValue, Request, Response};
use http_body_util::Empty;
use hyper::service::service_fn;
use prometheus::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::spawn_local;

/// So many routes, each of which matches what is written for its number.
pub(super) fn table(routes: usize, matches: impl Fn(usize) -> String) -> RouteTable {
    let metrics = metrics(&Registry::new());
    let routes = (0..routes).map(|n| {
        let matches = matches(n);
        format!("[[routes]]\nname = \"{n}\"\nupstream = \"{UPSTREAM}\"\ncredential = \"none\"\n{matches}\n")
    });
    let routes = settings(routes.collect()).into_iter();
    let route = |settings: gatepass::proxy::Settings| {
        let metrics = metrics.for_route(&settings.name);
        Route::new(settings, None, metrics)
    };
    RouteTable::new(routes.map(route).collect())
}

/// A route that takes its prefix off.
pub(super) fn route(token: Option<TokenReader>) -> Route {
    let text = format!(
        "[[routes]]\npath = \"/connect\"\nstrip_path = true\nupstream = \"{UPSTREAM}\"\ncredential = \"none\"\n"
    );
    let [settings] = settings(text).try_into().unwrap();
    let metrics = metrics(&Registry::new()).for_route("api");
    Route::new(settings, token, metrics)
}

fn settings(text: String) -> Vec<gatepass::proxy::Settings> {
    let layers = Layers {
        text: Some(text),
        ..Layers::default()
    };
    config::load(&layers).unwrap().routes
}

pub(super) fn metrics(registry: &Registry) -> ProxyMetrics {
    ProxyMetrics::register(registry).unwrap()
}

/// A cell with a token of 900 bytes in it, which is a usual JWT.
pub(super) fn token() -> (TokenWriter, TokenReader) {
    let refusals = TokenMetrics::register(&Registry::new()).unwrap();
    let refusals = refusals.refusals("api");
    let (writer, reader) = cell::channel("api", RefusalSettings::default(), refusals);
    let fetched = FetchedToken {
        secret: "t".repeat(900).into(),
        scheme: "Bearer".into(),
        lifetime: Duration::from_secs(3600),
        refresh_in: None,
        age: Duration::ZERO,
        refused_secret: None,
    };
    writer.store(AccessToken::new(&fetched, Moment::now(), 0.0, 1).unwrap());
    (writer, reader)
}

/// The head of a request with 14 fields that go on, and those `besides`. As hyper makes it: with
/// room, which a clone would not have.
pub(super) fn head(besides: &[(&'static str, &'static str)]) -> Parts {
    let target = "/connect/orders/7?expand=items&page=2";
    let (mut head, ()) = Request::get(target).body(()).unwrap().into_parts();
    head.headers.reserve(FIELDS.len() + besides.len());
    for (name, value) in FIELDS.iter().chain(besides) {
        head.headers.append(*name, HeaderValue::from_static(value));
    }
    head
}

/// The body of a request that has none. Only a connection can make one, so there is one.
pub(super) fn empty_body() -> CallerBody {
    runtime::control(async {
        let listener = Listener::bind_tcp(([127, 0, 0, 1], 0).into()).unwrap();
        let Address::Tcp(address) = listener.address().unwrap() else {
            panic!("an address of TCP");
        };
        let came = Rc::new(RefCell::new(None));
        let place = Rc::clone(&came);
        let service = service_fn(move |request: Request<CallerBody>| {
            place.replace(Some(request.into_body()));
            async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) }
        });
        let metrics = ServerMetrics::register(&Registry::new()).unwrap();
        let intake = server::alone(listener, 1, metrics.for_listener("api"));
        let (_drain, watch) = drain::channel();
        let settings = server::Settings::default();
        spawn_local(server::serve(
            intake,
            service,
            server::refuse_briefly(),
            settings,
            watch,
        ));
        let mut caller = TcpStream::connect(address).await.unwrap();
        let head = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        caller.write_all(head).await.unwrap();
        caller.read_to_end(&mut Vec::new()).await.unwrap();
        came.take().unwrap()
    })
    .unwrap()
}

/// Nothing is sent there.
const UPSTREAM: &str = "http://127.0.0.1:9";

const FIELDS: [(&str, &str); 14] = [
    ("host", "localhost:8080"),
    ("user-agent", "tms/4.2 (orders)"),
    ("accept", "application/json"),
    ("accept-encoding", "gzip, br"),
    ("cache-control", "no-cache"),
    ("content-type", "application/json"),
    ("cookie", "session=0123456789abcdef"),
    ("if-none-match", "\"33a64df551425fcc\""),
    (
        "traceparent",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ),
    ("tracestate", "vendor=00f067aa0ba902b7"),
    ("x-correlation-id", "f058ebd6-02f7-4d3f-942e-904344e8cde5"),
    ("x-request-id", "7d9f2b1c"),
    ("x-tenant", "north"),
    ("x-version", "2"),
];
