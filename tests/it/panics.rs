//! A fault of gatepass's own in one request is that request's affair.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use gatepass::server::{self, Listener, refuse_briefly};
use gatepass::{drain, server::CallerBody};
use http::{Request, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use prometheus::Registry;
use tokio::time::timeout;

use crate::support::client::{self, PATIENCE, get, read};
use crate::support::http2;

async fn answer(request: Request<CallerBody>) -> Result<Response<Full<Bytes>>, Infallible> {
    assert_ne!(request.uri().path(), "/panic", "a fault that a test wants");
    Ok(Response::new(Full::from("well")))
}

#[tokio::test(flavor = "local")]
async fn a_panic_costs_one_request() {
    let listener = Listener::bind_tcp(([127, 0, 0, 1], 0).into()).unwrap();
    let server::Address::Tcp(address) = listener.address().unwrap() else {
        panic!("an address of TCP");
    };
    // A place that is not given back would be missing soon.
    let settings = server::Settings {
        max_connections: 2,
        ..server::Settings::default()
    };
    let metrics = server::ServerMetrics::register(&Registry::new()).unwrap();
    let metrics = metrics.for_listener("test");
    let intake = server::alone(listener, settings.max_connections, metrics);
    let (drain, watch) = drain::channel();
    let serving = tokio::task::spawn_local(server::serve(
        intake,
        service_fn(answer),
        refuse_briefly(),
        settings,
        watch,
    ));
    for _ in 0..5 {
        let mut caller = client::connect::<Full<Bytes>>(address).await;
        let lost = caller.send_request(client::get_request("/panic"));
        timeout(PATIENCE, lost).await.unwrap().unwrap_err();
        assert_eq!(get(address, "/").await.body(), "well");
    }
    // Of those that share a connection in HTTP/2 the others go on.
    let mut caller = http2::connect::<Full<Bytes>>(address).await;
    let lost = caller.send_request(http2::get_request("/panic"));
    timeout(PATIENCE, lost).await.unwrap().unwrap_err();
    let answered = caller.send_request(http2::get_request("/")).await.unwrap();
    assert_eq!(read(answered).await.body(), "well");
    drop(caller);
    drain.begin();
    timeout(Duration::from_secs(5), serving)
        .await
        .unwrap()
        .unwrap();
}
