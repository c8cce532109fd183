//! Connections that nobody uses for a while cost little more than their sockets.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::support::certificates::Authority;
use crate::support::client::{PATIENCE, connect, connect_over, get_request, read};
use crate::support::wire::{GET, read_until};
use crate::support::{AuthorizationServer, Gatepass, Upstream, simple_config};

/// Enough to be told from whatever else changes.
const CALLERS: usize = 300;

/// What a connection may hold while nobody uses it, in KiB. In use it holds 14, and 22 with TLS.
const AT_REST: u64 = 10;
const AT_REST_WITH_TLS: u64 = 14;

/// As in the image: machines differ in whether huge pages are given unasked, which are given back in whole.
const NO_HUGE_PAGES: (&str, &str) = ("MIMALLOC_ALLOW_THP", "0");

/// Uses each of the connections, one after the other.
async fn use_all(callers: &mut [SendRequest<Full<Bytes>>]) {
    for caller in callers {
        let answer = caller.send_request(get_request("/")).await.unwrap();
        assert_eq!(read(answer).await.status(), 200);
    }
}

/// Waits until of the memory that has come since there were `before` KiB no more is left than `each` KiB
/// for each connection.
async fn given_back(gatepass: &Gatepass, before: u64, each: u64) {
    let most = before + each * CALLERS as u64;
    let fallen = async {
        while gatepass.resident_memory_kib() > most {
            sleep(Duration::from_millis(100)).await;
        }
    };
    let in_time = timeout(PATIENCE, fallen).await;
    let now = || gatepass.resident_memory_kib();
    in_time.unwrap_or_else(|_| panic!("from {before} KiB it has come to {}", now()));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_not_used_give_their_memory_back_and_go_on() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream);
    let gatepass = Gatepass::start_with(&config, &[NO_HUGE_PAGES]);
    let mut gatepass = gatepass.ready().await;
    use_all(&mut [connect(gatepass.proxy()).await]).await;
    let before = gatepass.resident_memory_kib();

    let mut callers = Vec::new();
    for _ in 0..CALLERS {
        callers.push(connect(gatepass.proxy()).await);
    }
    use_all(&mut callers).await;
    // One that has begun to say more has not been read in vain.
    let mut hesitant = TcpStream::connect(gatepass.proxy()).await.unwrap();
    let one_and_a_half = format!("{GET}GET / HT");
    hesitant.write_all(one_and_a_half.as_bytes()).await.unwrap();
    read_until(&mut hesitant, "\r\n\r\n").await;
    given_back(&gatepass, before, AT_REST).await;

    let the_rest = b"TP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    hesitant.write_all(the_rest).await.unwrap();
    read_until(&mut hesitant, "HTTP/1.1 200 OK\r\n").await;
    use_all(&mut callers).await;
    assert_eq!(upstream.requests(), 1 + 2 * CALLERS + 2);

    // Nobody waits for one that rests.
    let mut resting = TcpStream::connect(gatepass.proxy()).await.unwrap();
    resting.write_all(GET.as_bytes()).await.unwrap();
    read_until(&mut resting, "\r\n\r\n").await;
    given_back(&gatepass, before, AT_REST).await;
    gatepass.signal(Signal::TERM);
    let end = timeout(PATIENCE, resting.read(&mut [0])).await.unwrap();
    assert_eq!(end.unwrap(), 0);
    assert_eq!(gatepass.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn so_do_those_with_tls() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    authority.server().write(directory.path(), "tls");
    let path = directory.path().display();
    let config = format!(
        "proxy.tls = {{ cert_file = \"{path}/tls.crt\", key_file = \"{path}/tls.key\" }}\n{}",
        simple_config(&provider, &upstream)
    );
    let environment = [
        ("GATEPASS__PROXY__LISTEN", "tls:127.0.0.1:0"),
        NO_HUGE_PAGES,
    ];
    let gatepass = Gatepass::start_with(&config, &environment).ready().await;
    let connector = authority.client_tls(None, &[]);
    let call = async || {
        let stream = TcpStream::connect(gatepass.proxy()).await.unwrap();
        let name = "localhost".try_into().unwrap();
        connect_over(connector.connect(name, stream).await.unwrap()).await
    };
    use_all(&mut [call().await]).await;
    let before = gatepass.resident_memory_kib();

    let mut callers = Vec::new();
    for _ in 0..CALLERS {
        callers.push(call().await);
    }
    use_all(&mut callers).await;
    given_back(&gatepass, before, AT_REST_WITH_TLS).await;
    use_all(&mut callers).await;
    assert_eq!(upstream.requests(), 1 + 2 * CALLERS);
}
