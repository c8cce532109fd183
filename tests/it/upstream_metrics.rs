//! What the metrics say of the connections to upstreams.

use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::support::authorization_server::reset;
use crate::support::client::PATIENCE;
use crate::support::wire::{GET, Wire, read_until};
use crate::support::{AuthorizationServer, Gatepass, Upstream, get, simple_config};

fn connections(what: &str) -> String {
    format!("gatepass_upstream_connections_{what}{{route=\"root\"}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_counted_when_they_are_made_and_when_they_are_used_again() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream) + "\ntimeouts.keep_alive = \"500ms\"\n";
    let gatepass = Gatepass::start(&config).ready().await;
    for _ in 0..3 {
        assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    }
    let (opened, reused) = (connections("opened_total"), connections("reused_total"));
    assert_eq!(gatepass.metric(&opened).await, 1.0);
    assert_eq!(gatepass.metric(&reused).await, 2.0);
    gatepass.wait_for_metric(&connections("open"), 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_cannot_be_had_are_counted_by_cause() {
    // The kernel takes connections that nobody speaks on.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = silent.local_addr().unwrap();
    let closing = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = closing.local_addr().unwrap();
    tokio::spawn(async move { while closing.accept().await.is_ok() {} });
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let plain = upstream.authority();
    let mut config = simple_config(&provider, &upstream);
    let faults = [
        ("dns", "http://no-such-host.invalid".to_owned(), 1.0),
        // What may be passing is tried once more.
        ("connect", "http://127.0.0.1:1".into(), 2.0),
        ("tls", format!("https://{plain}"), 1.0),
        ("timeout", format!("https://{silent}"), 1.0),
        ("http", format!("h2c://{closed}"), 2.0),
    ];
    for (cause, origin, _) in &faults {
        config += &format!(
            "\n[[routes]]\npath = \"/{cause}\"\nupstream = \"{origin}\"\ncredential = \"none\"\n\
             timeouts.connect = \"1s\"\n"
        );
    }
    let gatepass = Gatepass::start(&config).ready().await;
    for (cause, _, attempts) in faults {
        let answer = get(gatepass.proxy(), &format!("/{cause}")).await;
        assert_eq!(answer.status(), 502, "{cause}: {}", answer.body());
        let of = format!("{{cause=\"{cause}\",route=\"{cause}\"}}");
        let failures = format!("gatepass_upstream_connection_failures_total{of}");
        assert_eq!(gatepass.metric(&failures).await, attempts, "{cause}");
        let retries =
            format!("gatepass_upstream_retries_total{{reason=\"connect\",route=\"{cause}\"}}");
        assert_eq!(gatepass.metric(&retries).await, attempts - 1.0, "{cause}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_one_too_many_is_counted() {
    let wire = Wire::start("max_connections = 1").await;
    let (_caller, _upstream) = wire.exchange(GET).await;
    let mut other = wire.call(GET.as_bytes()).await;
    read_until(&mut other, "upstream_saturated").await;
    let limit = "gatepass_upstream_connection_failures_total{cause=\"limit\",route=\"root\"}";
    assert_eq!(wire.gatepass.metric(limit).await, 1.0);
    assert_eq!(wire.gatepass.metric(&connections("open")).await, 1.0);
}

/// Without it an upstream that swallows connections would not show, if callers have less patience
/// than `timeouts.connect`.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_nobody_waits_for_any_more_is_counted() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let origin = format!("https://{}", silent.local_addr().unwrap());
    let config = simple_config(&provider, &upstream).replace(&upstream.origin(), &origin);
    let gatepass = Gatepass::start(&config).ready().await;
    let mut caller = TcpStream::connect(gatepass.proxy()).await.unwrap();
    caller.write_all(GET.as_bytes()).await.unwrap();
    gatepass.wait_for_metric(&connections("open"), 1.0).await;
    reset(caller).unwrap();
    let given_up = "gatepass_upstream_connection_failures_total{cause=\"given_up\",route=\"root\"}";
    gatepass.wait_for_metric(given_up, 1.0).await;
    gatepass.wait_for_metric(&connections("open"), 0.0).await;
}

/// RFC 9110 §15: "A client that receives a response with an invalid status code SHOULD process the response
/// as if it had a 5xx (Server Error) status code."
#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_nobody_knows_counts_as_a_fault() {
    let wire = Wire::start("").await;
    let (mut caller, mut upstream) = wire.exchange(GET).await;
    let answer = b"HTTP/1.1 799 Unheard Of\r\nContent-Length: 0\r\n\r\n";
    upstream.write_all(answer).await.unwrap();
    read_until(&mut caller, "HTTP/1.1 799").await;
    let faults = r#"gatepass_requests_total{route="root",status_class="5xx"}"#;
    wire.gatepass.wait_for_metric(faults, 1.0).await;
}

/// An upstream would look slow otherwise because its callers are.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_caller_takes_to_send_its_body_is_not_the_upstream_s_time() {
    let wire = Wire::start("").await;
    let begun = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12345";
    let (mut caller, mut upstream) = wire.exchange(begun).await;
    let pause = Duration::from_secs(2);
    sleep(pause).await;
    caller.write_all(b"67890").await.unwrap();
    read_until(&mut upstream, "67890").await;
    let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
    upstream.write_all(answer).await.unwrap();
    read_until(&mut caller, "204").await;
    let took = r#"gatepass_request_upstream_duration_seconds_sum{route="root"}"#;
    let took = wire.gatepass.metric(took).await;
    assert!(took < pause.as_secs_f64() / 2.0, "{took}");
}

/// Nothing of a request has been sent as long as there is no connection, so its method does not matter.
#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_comes_back_in_a_moment_is_waited_for() {
    let (provider, other) = (AuthorizationServer::start(), Upstream::start().await);
    for method in ["GET", "POST"] {
        // It refuses connections until it listens.
        let place = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        place.bind(&any.into()).unwrap();
        place.set_nonblocking(true).unwrap();
        let address = place.local_addr().unwrap().as_socket().unwrap();
        let origin = format!("http://{address}");
        let config = simple_config(&provider, &other).replace(&other.origin(), &origin);
        let gatepass = Gatepass::start(&format!("{config}\nretries = 10"))
            .ready()
            .await;
        let call = format!("{method} / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
        let mut caller = TcpStream::connect(gatepass.proxy()).await.unwrap();
        caller.write_all(call.as_bytes()).await.unwrap();
        let failures =
            r#"gatepass_upstream_connection_failures_total{cause="connect",route="root"}"#;
        while gatepass.metric(failures).await == 0.0 {}
        place.listen(1).unwrap();
        let listener = TcpListener::from_std(place.into()).unwrap();
        let accepted = timeout(PATIENCE, listener.accept()).await;
        let (mut stream, _) = accepted.expect("another attempt").unwrap();
        read_until(&mut stream, "\r\n\r\n").await;
        let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        read_until(&mut caller, "204").await;
    }
}
