//! Stopping: what is in flight finishes, nothing new begins, and there is an end to it.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use crate::support::client::{PATIENCE, connect, get_request};
use crate::support::{
    AuthorizationServer, CLIENT_SECRET, Gatepass, Reply, Upstream, get, request, simple_config,
};

/// An upstream by hand: the test holds each answer back as long as it likes.
struct SlowUpstream(TcpListener);

impl SlowUpstream {
    async fn start(shutdown: &str) -> (Self, Gatepass) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = AuthorizationServer::start();
        let upstream = Upstream::start().await;
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let config = simple_config(&provider, &upstream).replace(&upstream.origin(), &origin);
        let gatepass = Gatepass::start(&format!("{shutdown}\n{config}"))
            .ready()
            .await;
        (Self(listener), gatepass)
    }

    /// Takes a connection and reads a request's head from it.
    async fn take(&self) -> TcpStream {
        let (mut stream, _) = timeout(PATIENCE, self.0.accept()).await.unwrap().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut head).await.unwrap(), 0);
        }
        stream
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_is_finished_and_nothing_new_begins() {
    for signal in [Signal::TERM, Signal::INT] {
        let (upstream, mut gatepass) = SlowUpstream::start("").await;
        let mut caller = connect::<Full<Bytes>>(gatepass.proxy()).await;
        let mut idle = TcpStream::connect(gatepass.proxy()).await.unwrap();
        let answer = tokio::spawn(caller.send_request(get_request("/")));
        let mut at_upstream = upstream.take().await;
        at_upstream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
            .await
            .unwrap();

        gatepass.signal(signal);
        let stopping = "stopping: requests in flight may finish, a second signal ends them at once";
        gatepass.wait_for_event(stopping);
        let ready = get(gatepass.admin(), "/readyz").await;
        assert_eq!(ready.status(), 503);
        assert!(ready.body().contains("is stopping"), "{}", ready.body());
        // The listener is closed and idle connections end.
        assert_eq!(
            timeout(PATIENCE, idle.read(&mut [0]))
                .await
                .unwrap()
                .unwrap(),
            0
        );
        TcpStream::connect(gatepass.proxy()).await.unwrap_err();

        at_upstream.write_all(b"world").await.unwrap();
        let response = answer.await.unwrap().unwrap();
        assert_eq!(response.collect().await.unwrap().to_bytes(), "helloworld");
        assert_eq!(gatepass.ended().await.code(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_hangs_does_not_outlive_the_grace_period() {
    let (upstream, mut gatepass) = SlowUpstream::start("shutdown.grace = \"300ms\"").await;
    let mut caller = connect::<Full<Bytes>>(gatepass.proxy()).await;
    let answer = tokio::spawn(caller.send_request(get_request("/")));
    let _held = upstream.take().await;
    let start = Instant::now();
    gatepass.signal(Signal::TERM);
    assert_eq!(gatepass.ended().await.code(), Some(0));
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert!(start.elapsed() < Duration::from_secs(3));
    answer.await.unwrap().unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn how_long_stopping_may_take_can_be_changed() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream);
    let mut gatepass = Gatepass::start(&config).ready().await;
    let changed = format!("shutdown = {{ grace = \"7s\", delay = \"1s\" }}\n{config}");
    gatepass.reload(&changed).await;
    gatepass.signal(Signal::TERM);
    assert!(gatepass.ended().await.success());
    let stopping = gatepass.wait_for_event(
        "stopping: requests in flight may finish, a second signal ends them at once",
    );
    assert_eq!(stopping["grace_seconds"], 7);
    assert_eq!(stopping["delay_seconds"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once() {
    let (upstream, mut gatepass) = SlowUpstream::start("shutdown.grace = \"1h\"").await;
    let mut caller = connect::<Full<Bytes>>(gatepass.proxy()).await;
    let _answer = tokio::spawn(caller.send_request(get_request("/")));
    let _held = upstream.take().await;
    gatepass.signal(Signal::TERM);
    gatepass.output_with("stopping:");
    gatepass.signal(Signal::INT);
    let status = gatepass.ended().await;
    assert_eq!((status.code(), status.signal()), (Some(130), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn stops_at_once_when_nothing_is_in_flight() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let mut gatepass = Gatepass::start(&simple_config(&provider, &upstream))
        .ready()
        .await;
    // An idle connection on each side is nothing to wait for.
    let mut caller = connect::<Full<Bytes>>(gatepass.proxy()).await;
    let response = caller.send_request(Request::get("/").body(Full::default()).unwrap());
    response.await.unwrap().collect().await.unwrap();
    let start = Instant::now();
    gatepass.signal(Signal::TERM);
    assert_eq!(gatepass.ended().await.code(), Some(0));
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    // Whoever asks all the time has a moment to be told.
    assert!(
        start.elapsed() >= Duration::from_millis(200),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn several_workers_stop_like_one() {
    let keys = "shutdown.grace = \"300ms\"\nproxy.workers = 2";
    let (upstream, mut gatepass) = SlowUpstream::start(keys).await;
    // The first caller is served by the first worker, the second by the other, where it hangs.
    let _idle = TcpStream::connect(gatepass.proxy()).await.unwrap();
    let mut caller = connect::<Full<Bytes>>(gatepass.proxy()).await;
    let _answer = tokio::spawn(caller.send_request(get_request("/")));
    let _held = upstream.take().await;
    gatepass.signal(Signal::TERM);
    assert_eq!(gatepass.ended().await.code(), Some(0));
}

/// A refresh token that the provider has handed out is not lost to a signal in the same moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_under_way_is_brought_to_its_end() {
    let provider = AuthorizationServer::start();
    let answer = r#"{"access_token":"TOKEN","expires_in":3600,"refresh_token":"REFRESH"}"#;
    provider.otherwise(Reply::Words(3_600.0, answer.into()));
    let upstream = Upstream::start().await;
    let directory = tempfile::tempdir().unwrap();
    let session = directory.path().join("session");
    let keys = format!(
        "grant_type = \"password\"\nusername = \"clerk\"\npassword = \"canary-password\"\n\
         session_file = \"{}\"\nclient_id",
        session.display()
    );
    let config = simple_config(&provider, &upstream).replace("client_id", &keys);
    let mut gatepass = Gatepass::start(&config).ready().await;
    provider.think_for(Duration::from_millis(500));
    gatepass.order_refresh("envase").await;
    provider.wait_for_requests(2).await;
    gatepass.signal(Signal::TERM);
    assert_eq!(gatepass.ended().await.code(), Some(0));
    let saved = std::fs::read_to_string(session).unwrap();
    assert!(saved.contains("canary-refresh-2"), "{saved}");
}

/// Whoever opens a pipe waits until somebody writes to it.
#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_in_the_place_of_a_secret_is_not_waited_for() {
    let provider = AuthorizationServer::start();
    provider.otherwise(Reply::Token(0.6));
    let upstream = Upstream::start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    std::fs::write(&file, CLIENT_SECRET).unwrap();
    let config = simple_config(&provider, &upstream).replace(
        &format!("client_secret = \"{CLIENT_SECRET}\""),
        &format!("client_secret_file = \"{}\"", file.display()),
    );
    let mut gatepass = Gatepass::start(&config).ready().await;
    std::fs::remove_file(&file).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&file).status();
    assert!(made.unwrap().success());
    gatepass.output_with("cannot be read: it is no ordinary file");
    gatepass.signal(Signal::TERM);
    assert_eq!(gatepass.ended().await.code(), Some(0));
}

/// Those who spread load notice a moment later that nothing should come here any more.
#[tokio::test(flavor = "multi_thread")]
async fn it_serves_on_for_the_delay() {
    let keys = "shutdown.delay = \"500ms\"";
    let (upstream, mut gatepass) = SlowUpstream::start(keys).await;
    let start = Instant::now();
    gatepass.signal(Signal::TERM);
    gatepass.output_with("stopping:");
    assert_eq!(get(gatepass.admin(), "/readyz").await.status(), 503);
    let mut caller = connect::<Full<Bytes>>(gatepass.proxy()).await;
    let answer = tokio::spawn(caller.send_request(get_request("/")));
    let mut at_upstream = upstream.take().await;
    assert!(
        start.elapsed() < Duration::from_millis(500),
        "a slow machine"
    );
    at_upstream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .await
        .unwrap();
    let response = answer.await.unwrap().unwrap();
    assert_eq!(response.collect().await.unwrap().to_bytes(), "ok");
    assert_eq!(gatepass.ended().await.code(), Some(0));
    assert!(start.elapsed() >= Duration::from_millis(500));
}

/// What is taken up could call itself ready, and those who spread load would come back.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_means_nothing_while_it_stops() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = format!(
        "shutdown.delay = \"4s\"\n{}",
        simple_config(&provider, &upstream)
    );
    let mut gatepass = Gatepass::start(&config).ready().await;
    gatepass.signal(Signal::TERM);
    gatepass.output_with("stopping:");
    let further = format!(
        "{config}\n[[routes]]\npath = \"/further\"\nupstream = \"{}\"\ncredential = \"none\"",
        upstream.origin()
    );
    gatepass.write_config(&further);
    // A change is seen within two seconds, and taken up at once.
    let seen_by = Instant::now() + Duration::from_secs(3);
    while Instant::now() < seen_by {
        assert_eq!(get(gatepass.admin(), "/readyz").await.status(), 503);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let taken_up = r#"gatepass_config_reloads_total{outcome="success"}"#;
    assert_eq!(gatepass.metric(taken_up).await, 0.0);
    let output = gatepass.output();
    assert!(!output.contains("it is read again"), "{output}");
    assert_eq!(gatepass.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_signals_mean_nothing_while_it_stops() {
    let (upstream, mut gatepass) = SlowUpstream::start("").await;
    let mut caller = connect::<Full<Bytes>>(gatepass.proxy()).await;
    let answer = tokio::spawn(caller.send_request(get_request("/")));
    let mut at_upstream = upstream.take().await;
    gatepass.signal(Signal::TERM);
    gatepass.output_with("stopping:");
    for signal in [Signal::HUP, Signal::USR1] {
        gatepass.signal(signal);
    }
    gatepass.output_with("the signal is ignored: gatepass is stopping");
    assert_eq!(get(gatepass.admin(), "/readyz").await.status(), 503);
    at_upstream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .await
        .unwrap();
    let response = answer.await.unwrap().unwrap();
    assert_eq!(response.collect().await.unwrap().to_bytes(), "ok");
    assert_eq!(gatepass.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_listener_takes_the_order_to_stop_if_it_may() {
    let order = || Request::post("/quit").header("host", "localhost");
    let (_upstream, mut gatepass) = SlowUpstream::start("").await;
    let answer = request(gatepass.admin(), order().body(Full::default()).unwrap()).await;
    assert_eq!(answer.status(), 403, "off by default");
    assert!(
        answer.body().starts_with("admin.quit is not set"),
        "{answer:?}"
    );
    assert!(gatepass.is_alive());

    let (_upstream, mut gatepass) = SlowUpstream::start("admin.quit = true").await;
    let page = order().header("origin", "http://localhost:9090");
    let answer = request(gatepass.admin(), page.body(Full::default()).unwrap()).await;
    assert_eq!(answer.status(), 403, "a web page may not");
    assert_eq!(get(gatepass.admin(), "/quit").await.status(), 405);
    let answer = request(gatepass.admin(), order().body(Full::default()).unwrap()).await;
    assert_eq!(
        (answer.status().as_u16(), answer.body().as_str()),
        (202, "stopping\n")
    );
    assert_eq!(gatepass.ended().await.code(), Some(0));
}

/// Whoever asks all the time learns from an answer that the connection ends, and loses nothing on it.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_says_that_there_will_be_no_other() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = format!(
        "shutdown.delay = \"1s\"\n{}",
        simple_config(&provider, &upstream)
    );
    let mut gatepass = Gatepass::start(&config).ready().await;
    let mut caller = connect::<Full<Bytes>>(gatepass.proxy()).await;
    let before = caller.send_request(get_request("/")).await.unwrap();
    assert_eq!(before.headers().get("connection"), None);
    before.collect().await.unwrap();
    gatepass.signal(Signal::TERM);
    gatepass.output_with("stopping:");
    caller.ready().await.unwrap();
    let last = caller.send_request(get_request("/")).await.unwrap();
    assert_eq!(last.status(), 200);
    assert_eq!(last.headers()["connection"], "close");
    last.collect().await.unwrap();
    caller.ready().await.unwrap_err();
    assert_eq!(gatepass.ended().await.code(), Some(0));
}
