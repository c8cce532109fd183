//! Where applications call: Unix sockets, sockets of systemd, TLS.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use rustix::process::Signal;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::support::certificates::{Authority, Identity};
use crate::support::client::{self, Answer, PATIENCE, connect_over, read};
use crate::support::{AuthorizationServer, Gatepass, Upstream, get, http2, problem, simple_config};

async fn ask_over_unix(path: &Path) -> Answer {
    let mut caller = connect_over(UnixStream::connect(path).await.unwrap()).await;
    // Whatever it is called: nobody can lead it there by a name.
    let request = Request::get("/x").header("host", "anything.example");
    let request = request.body(Full::<Bytes>::default()).unwrap();
    read(caller.send_request(request).await.unwrap()).await
}

async fn at_unix_socket(path: &Path, keys: &str) -> (Gatepass, Upstream) {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = format!("{keys}\n{}", simple_config(&provider, &upstream));
    let listen = format!("unix:{}", path.display());
    let environment = [("GATEPASS__PROXY__LISTEN", listen.as_str())];
    let gatepass = Gatepass::start_with(&config, &environment).ready().await;
    (gatepass, upstream)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_is_for_its_owner_unless_told_otherwise() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.sock");
    for (keys, mode) in [("", 0o600), ("proxy.unix.mode = \"0660\"", 0o660)] {
        // The second one finds the file that the first has left behind, killed as it was.
        let (_gatepass, upstream) = at_unix_socket(&path, keys).await;
        let permissions = std::fs::metadata(&path).unwrap().permissions();
        assert_eq!(permissions.mode() & 0o777, mode);
        assert_eq!(ask_over_unix(&path).await.status(), 200);
        assert_eq!(upstream.last().all("host"), [upstream.authority()]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_takes_the_files_of_its_sockets_away_and_no_others() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.sock");
    let (mut gatepass, _upstream) = at_unix_socket(&path, "").await;
    gatepass.signal(Signal::TERM);
    assert!(gatepass.ended().await.success());
    assert!(!path.exists(), "left behind");

    let (mut gatepass, _upstream) = at_unix_socket(&path, "").await;
    // Another has taken over meanwhile.
    let taken = directory.path().join("next.sock");
    let _another = std::os::unix::net::UnixListener::bind(&taken).unwrap();
    std::fs::rename(&taken, &path).unwrap();
    gatepass.signal(Signal::TERM);
    assert!(gatepass.ended().await.success());
    assert!(path.exists(), "somebody else's");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_unix_socket_the_kernel_says_who_calls() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.sock");
    let own = rustix::process::getuid().as_raw();
    let (gatepass, upstream) =
        at_unix_socket(&path, &format!("proxy.callers.uids = [{}]", own + 1)).await;
    let answer = ask_over_unix(&path).await;
    assert_eq!(answer.status(), 403);
    let problem = problem(&answer);
    assert_eq!(problem["reason"], "unknown_caller");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains(&format!("user {own} ")),
        "{problem}"
    );
    let counted = r#"gatepass_rejections_total{reason="unknown_caller",route="(none)"}"#;
    assert_eq!(gatepass.metric(counted).await, 1.0);
    assert_eq!(upstream.requests(), 0);
    drop(gatepass);
    let (_gatepass, _upstream) =
        at_unix_socket(&path, &format!("proxy.callers.uids = [{own}]")).await;
    assert_eq!(ask_over_unix(&path).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_that_systemd_hands_over_are_served() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let config = simple_config(&provider, &upstream);
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let gatepass = Gatepass::start_activated(&config, socket.into())
        .ready()
        .await;
    assert_eq!(gatepass.proxy(), address);
    assert_eq!(get(address, "/").await.status(), 200);

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("handed.sock");
    let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let _gatepass = Gatepass::start_activated(&config, socket.into())
        .ready()
        .await;
    assert_eq!(ask_over_unix(&path).await.status(), 200);
}

/// gatepass with a certificate of this authority.
async fn with_tls(authority: &Authority, directory: &Path, keys: &str) -> (Gatepass, Upstream) {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    authority.server().write(directory, "tls");
    std::fs::write(directory.join("ca.pem"), authority.pem()).unwrap();
    let directory = directory.display();
    let config = format!(
        "proxy.tls.cert_file = \"{directory}/tls.crt\"\nproxy.tls.key_file = \"{directory}/tls.key\"\n\
         {keys}\n{}",
        simple_config(&provider, &upstream)
    );
    let environment = [("GATEPASS__PROXY__LISTEN", "tls:127.0.0.1:0")];
    let gatepass = Gatepass::start_with(&config, &environment).ready().await;
    (gatepass, upstream)
}

async fn connect(
    gatepass: &Gatepass,
    authority: &Authority,
    identity: Option<&Identity>,
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(gatepass.proxy()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    authority
        .client_tls(identity, protocols)
        .connect(name, stream)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_spoken_where_it_is_asked_for_and_http2_agreed_on() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let keys = "proxy.timeouts.header_read = \"2s\"";
    let (gatepass, upstream) = with_tls(&authority, directory.path(), keys).await;
    let listening = gatepass.wait_for_event("listening");
    assert_eq!(listening["proxy"], format!("tls:{}", gatepass.proxy()));
    let stream = connect(&gatepass, &authority, None, &["h2", "http/1.1"])
        .await
        .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut caller = http2::connect_over::<Full<Bytes>, _>(stream).await;
    let request = Request::get("https://localhost/")
        .body(Full::default())
        .unwrap();
    assert_eq!(caller.send_request(request).await.unwrap().status(), 200);
    assert_eq!(upstream.last().all("via"), ["2.0 gatepass"]);

    for protocols in [&["http/1.1"] as &[&str], &[]] {
        let stream = connect(&gatepass, &authority, None, protocols)
            .await
            .unwrap();
        let mut caller = connect_over(stream).await;
        let answer = caller.send_request(client::get_request("/")).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(upstream.last().all("via"), ["1.1 gatepass"]);
    }
    let requests = upstream.requests();
    // Whoever does not speak it, or says nothing at all, is let go.
    for spoken in ["GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "\u{16}"] {
        let answer = client::raw(gatepass.proxy(), spoken, |_| false).await;
        assert!(!answer.contains("HTTP"), "{answer}");
    }
    assert_eq!(upstream.requests(), requests);
}

/// A head is waited for only once it has begun: a client's pool connects before it has anything to say.
#[tokio::test(flavor = "multi_thread")]
async fn over_tls_a_caller_may_take_its_time_to_begin() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let keys = "proxy.timeouts.header_read = \"4s\"";
    let (gatepass, _upstream) = with_tls(&authority, directory.path(), keys).await;
    let stream = connect(&gatepass, &authority, None, &[]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    let mut caller = connect_over(stream).await;
    let answer = caller.send_request(client::get_request("/")).await.unwrap();
    assert_eq!(answer.status(), 200);
}

/// A page that the upstream has shown through gatepass is gatepass's own.
#[tokio::test(flavor = "multi_thread")]
async fn over_tls_a_page_s_own_origin_is_that_of_tls() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let (gatepass, _upstream) = with_tls(&authority, directory.path(), "").await;
    for (origin, status) in [("https://localhost", 200), ("http://localhost", 403)] {
        let stream = connect(&gatepass, &authority, None, &[]).await.unwrap();
        let mut caller = connect_over(stream).await;
        let mut request = client::get_request("/");
        request
            .headers_mut()
            .insert("origin", origin.parse().unwrap());
        let answer = caller.send_request(request).await.unwrap();
        assert_eq!(answer.status(), status, "{origin}");
    }
}

/// One that writes all of it before it reads.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_over_tls_that_is_refused_early_is_told_why() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let (gatepass, _upstream) = with_tls(&authority, directory.path(), "").await;
    let mut caller = connect(&gatepass, &authority, None, &[]).await.unwrap();
    let head = b"POST / HTTP/1.1\r\nHost: elsewhere\r\nContent-Length: 5000000\r\n\r\n";
    caller.write_all(head).await.unwrap();
    let writing = caller.write_all(&[b'x'; 5_000_000]);
    timeout(PATIENCE, writing).await.unwrap().unwrap();
    let mut told = String::new();
    let reading = timeout(PATIENCE, caller.read_to_string(&mut told));
    reading.await.unwrap().unwrap();
    assert!(told.starts_with("HTTP/1.1 421 "), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_without_a_certificate_of_the_authority_are_not_served() {
    let (ours, others) = (Authority::new(), Authority::new());
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    let keys = format!("proxy.tls.client_ca_file = \"{}\"", ca_file.display());
    let (gatepass, upstream) = with_tls(&ours, directory.path(), &keys).await;
    let strangers = others.client("gatepass tests", "stranger");
    for identity in [None, Some(&strangers)] {
        // In TLS 1.3 a client is told only after it has begun to speak.
        if let Ok(stream) = connect(&gatepass, &ours, identity, &[]).await {
            let mut caller = connect_over(stream).await;
            caller
                .send_request(client::get_request("/"))
                .await
                .unwrap_err();
        }
    }
    assert_eq!(upstream.requests(), 0);
    let known = ours.client("gatepass tests", "tms");
    let stream = connect(&gatepass, &ours, Some(&known), &[]).await.unwrap();
    let mut caller = connect_over(stream).await;
    let answer = caller.send_request(client::get_request("/")).await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_opens_a_listener_that_others_can_reach_and_goes_no_further() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let keys = "proxy.callers.key = \"canary caller key\"";
    let config = format!("{keys}\n{}", simple_config(&provider, &upstream));
    let environment = [("GATEPASS__PROXY__LISTEN", "0.0.0.0:0")];
    let gatepass = Gatepass::start_with(&config, &environment).ready().await;
    let address = ([127, 0, 0, 1], gatepass.proxy().port()).into();
    for wrong in [None, Some("canary caller kez")] {
        let mut request = client::get_request("/");
        if let Some(key) = wrong {
            request
                .headers_mut()
                .insert("x-gatepass-key", key.parse().unwrap());
        }
        let answer = client::request(address, request).await;
        assert_eq!(answer.status(), 403);
        assert_eq!(problem(&answer)["reason"], "unknown_caller");
    }
    assert_eq!(upstream.requests(), 0);
    let mut request = client::get_request("/");
    let key = "canary caller key".parse().unwrap();
    request.headers_mut().insert("x-gatepass-key", key);
    assert_eq!(client::request(address, request).await.status(), 200);
    assert!(upstream.last().all("x-gatepass-key").is_empty());
}

/// The address is what it was until a restart, so what is good for another one is not good enough.
#[tokio::test(flavor = "multi_thread")]
async fn what_others_can_reach_stays_guarded_whatever_is_written() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let open = simple_config(&provider, &upstream);
    let guarded = format!("proxy.callers.key = \"canary caller key\"\n{open}");
    let socket = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let address = socket.local_addr().unwrap();
    let gatepass = Gatepass::start_activated(&guarded, socket.into())
        .ready()
        .await;
    gatepass.write_config(&open);
    let refused = r#"gatepass_config_reloads_total{outcome="failure"}"#;
    gatepass.wait_for_metric(refused, 1.0).await;
    let here = ([127, 0, 0, 1], address.port()).into();
    assert_eq!(get(here, "/").await.status(), 403);
    assert_eq!(upstream.requests(), 0);
    let ready = get(gatepass.admin(), "/readyz").await;
    assert_eq!(ready.status(), 200);
    let told = format!("{address} stays open to other machines until a restart");
    assert!(ready.body().contains(&told), "{}", ready.body());
}

/// A certificate is replaced like any other file, and so are the authorities and the callers' key.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_shown_without_a_restart() {
    let (old, new) = (Authority::new(), Authority::new());
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key");
    std::fs::write(&key, "canary-old-key").unwrap();
    let keys = format!("proxy.callers.key_file = \"{}\"", key.display());
    let (gatepass, _upstream) = with_tls(&old, directory.path(), &keys).await;
    let ask = async |authority: &Authority, key: &str| {
        let stream = connect(&gatepass, authority, None, &[]).await?;
        let request = Request::get("/").header("host", "localhost");
        let request = request.header("x-gatepass-key", key);
        let mut caller = connect_over(stream).await;
        let answer = caller.send_request(request.body(Full::<Bytes>::default()).unwrap());
        std::io::Result::Ok(answer.await.unwrap().status().as_u16())
    };
    assert_eq!(ask(&old, "canary-old-key").await.unwrap(), 200);
    let mut kept = connect_over(connect(&gatepass, &old, None, &[]).await.unwrap()).await;

    new.server().write(directory.path(), "tls");
    std::fs::write(&key, "canary-new-key").unwrap();
    let taken_up = r#"gatepass_config_reloads_total{outcome="success"}"#;
    gatepass.wait_for_metric(taken_up, 1.0).await;
    ask(&old, "canary-new-key").await.unwrap_err();
    assert_eq!(ask(&new, "canary-old-key").await.unwrap(), 403);
    assert_eq!(ask(&new, "canary-new-key").await.unwrap(), 200);
    // Whoever has a connection keeps it.
    let request = Request::get("/")
        .header("host", "localhost")
        .header("x-gatepass-key", "canary-new-key");
    let answer = kept.send_request(request.body(Full::<Bytes>::default()).unwrap());
    assert_eq!(answer.await.unwrap().status(), 200);
}

/// Whoever replaces a certificate may write the key a while later, or the wrong one.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_without_its_key_changes_nothing_and_is_told() {
    let (old, new) = (Authority::new(), Authority::new());
    let directory = tempfile::tempdir().unwrap();
    let (gatepass, _upstream) = with_tls(&old, directory.path(), "").await;
    let next = new.server();
    std::fs::write(directory.path().join("tls.crt"), &next.certificate).unwrap();
    let refused = r#"gatepass_config_reloads_total{outcome="failure"}"#;
    gatepass.wait_for_metric(refused, 1.0).await;
    connect(&gatepass, &old, None, &[]).await.unwrap();
    let ready = get(gatepass.admin(), "/readyz").await;
    assert_eq!(ready.status(), 200);
    let told = format!(
        "proxy.tls.key_file: found {}/tls.key does not go with the certificate",
        directory.path().display()
    );
    assert!(ready.body().contains(&told), "{}", ready.body());

    std::fs::write(directory.path().join("tls.key"), &next.key).unwrap();
    let taken_up = r#"gatepass_config_reloads_total{outcome="success"}"#;
    gatepass.wait_for_metric(taken_up, 1.0).await;
    connect(&gatepass, &new, None, &[]).await.unwrap();
    connect(&gatepass, &old, None, &[]).await.unwrap_err();
    assert_eq!(get(gatepass.admin(), "/readyz").await.body(), "ready\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_speaks_tls_where_there_is_none_is_told_of() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&simple_config(&provider, &upstream))
        .ready()
        .await;
    let authority = Authority::new();
    connect(&gatepass, &authority, None, &[]).await.unwrap_err();
    gatepass.output_with("a caller speaks TLS to a listener without it; let it use http://");
    // What is no HTTP otherwise is no news.
    let mut stream = TcpStream::connect(gatepass.proxy()).await.unwrap();
    stream.write_all(b"SSH-2.0-OpenSSH\r\n\r\n").await.unwrap();
    let mut told = String::new();
    let reading = timeout(PATIENCE, stream.read_to_string(&mut told));
    reading.await.unwrap().unwrap();
    assert!(told.starts_with("HTTP/1.1 400 "), "{told}");
    let output = gatepass.output();
    assert_eq!(output.matches("a caller speaks TLS").count(), 1, "{output}");
}
