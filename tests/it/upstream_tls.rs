//! HTTPS upstreams: believed only with a certificate from whom the configuration trusts.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::Full;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::support::certificates::Authority;
use crate::support::client::PATIENCE;
use crate::support::http2::Http2Upstream;
use crate::support::{
    AuthorizationServer, Gatepass, Reply, Upstream, get, http2, problem, simple_config,
};

/// A certificate authority and an upstream with a certificate from it for `name`.
struct TlsUpstream {
    address: SocketAddr,
    ca_pem: String,
    heads: Arc<std::sync::Mutex<Vec<String>>>,
    handshakes: Arc<AtomicUsize>,
}

impl TlsUpstream {
    async fn start(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = Self {
            address: listener.local_addr().unwrap(),
            ca_pem: authority.pem(),
            heads: Arc::default(),
            handshakes: Arc::default(),
        };
        let heads = Arc::clone(&upstream.heads);
        let handshakes = Arc::clone(&upstream.handshakes);
        let acceptor = TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                handshakes.fetch_add(1, Ordering::Relaxed);
                let heads = Arc::clone(&heads);
                tokio::spawn(async move {
                    let mut bytes = Vec::new();
                    while stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
                        if bytes.ends_with(b"\r\n\r\n") {
                            let head = String::from_utf8(std::mem::take(&mut bytes)).unwrap();
                            heads.lock().unwrap().push(head);
                            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecure";
                            stream.write_all(answer).await.unwrap();
                        }
                    }
                });
            }
        });
        upstream
    }

    fn origin(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }
}

async fn start(upstream: &TlsUpstream, ca_file: Option<&Path>) -> Gatepass {
    start_with(upstream, ca_file, "").await
}

/// The same with these keys of the route.
async fn start_with(upstream: &TlsUpstream, ca_file: Option<&Path>, keys: &str) -> Gatepass {
    let provider = AuthorizationServer::start();
    let plain = Upstream::start().await;
    let config = simple_config(&provider, &plain).replace(&plain.origin(), &upstream.origin());
    let trust = ca_file.map(|file| format!("tls.ca_file = \"{}\"", file.display()));
    let trust = trust.unwrap_or_default();
    Gatepass::start(&format!("{config}\n{trust}\n{keys}"))
        .ready()
        .await
}

fn write(directory: &Path, pem: &str) -> PathBuf {
    let file = directory.join("ca.pem");
    std::fs::write(&file, pem).unwrap();
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_upstream_gets_the_request_over_one_kept_connection() {
    let upstream = TlsUpstream::start("localhost").await;
    let directory = tempfile::tempdir().unwrap();
    let ca_file = write(directory.path(), &upstream.ca_pem);
    let gatepass = start(&upstream, Some(&ca_file)).await;
    for _ in 0..5 {
        let answer = get(gatepass.proxy(), "/").await;
        assert_eq!(
            (answer.status().as_u16(), answer.body().as_str()),
            (200, "secure")
        );
    }
    let heads = upstream.heads.lock().unwrap();
    assert_eq!(heads.len(), 5);
    assert!(
        heads[0].contains("authorization: Bearer canary-token-1"),
        "{}",
        heads[0]
    );
    assert_eq!(upstream.handshakes.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_cannot_be_believed_gets_nothing() {
    let other = TlsUpstream::start("localhost").await;
    let directory = tempfile::tempdir().unwrap();
    let other_ca = write(directory.path(), &other.ca_pem);
    let misnamed = TlsUpstream::start("elsewhere.example").await;
    let own = tempfile::tempdir().unwrap();
    let misnamed_ca = write(own.path(), &misnamed.ca_pem);
    let unknown = TlsUpstream::start("localhost").await;
    for (upstream, ca_file, why, advice) in [
        (&unknown, None, "unknown to the platform", "tls.ca_file"),
        (
            &unknown,
            Some(&other_ca),
            "not of the trusted authority",
            "tls.ca_file",
        ),
        (
            &misnamed,
            Some(&misnamed_ca),
            "for another name",
            "check the host name",
        ),
    ] {
        let gatepass = start(upstream, ca_file.map(PathBuf::as_path)).await;
        let answer = get(gatepass.proxy(), "/").await;
        assert_eq!(answer.status(), 502, "{why}");
        let problem: Value = serde_json::from_str(answer.body()).unwrap();
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("TLS handshake failed"), "{why}: {detail}");
        assert!(detail.contains(advice), "{why}: {detail}");
        assert!(upstream.heads.lock().unwrap().is_empty(), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_endpoint_that_cannot_be_believed_gets_no_secret() {
    let endpoint = TlsUpstream::start("localhost").await;
    let upstream = Upstream::start().await;
    let provider = AuthorizationServer::start();
    let config = simple_config(&provider, &upstream).replace(
        &provider.token_endpoint(),
        &format!("{}/token", endpoint.origin()),
    );
    let gatepass = Gatepass::start(&config);
    let output = gatepass.output_with("no token to send");
    assert!(
        output.contains("cannot be reached: invalid peer certificate"),
        "{output}"
    );
    assert!(output.contains("tls.ca_file"), "{output}");
    assert!(endpoint.heads.lock().unwrap().is_empty());
}

/// It was good when the request came, and is not any more when there is a connection for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ends_while_a_connection_is_made_is_not_sent() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let ca_file = write(directory.path(), &authority.pem());
    let tls = authority.server().server_tls(&[]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let provider = AuthorizationServer::start();
    provider.plan([Reply::Token(5.0)]);
    provider.otherwise(Reply::Silence);
    let plain = Upstream::start().await;
    let origin = format!("https://{}", listener.local_addr().unwrap());
    let config = simple_config(&provider, &plain).replace(&plain.origin(), &origin);
    let trust = format!(
        "tls = {{ ca_file = \"{}\", server_name = \"localhost\" }}",
        ca_file.display()
    );
    let keys = "timeouts.connect = \"1m\"";
    let gatepass = Gatepass::start(&format!("{config}\n{trust}\n{keys}"))
        .ready()
        .await;
    let answer = tokio::spawn(get(gatepass.proxy(), "/"));
    let (stream, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    let usable = r#"gatepass_token_usable{credential="envase"}"#;
    gatepass.wait_for_metric(usable, 0.0).await;
    let _upstream = tls.accept(stream).await.unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(problem(&answer)["reason"], "no_token");
}

/// A provider that closes its connections without a word of TLS, after an answer that does not say how long
/// it is.
async fn provider_that_hangs_up(answer: &'static str) -> (Gatepass, tempfile::TempDir) {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let ca_file = write(directory.path(), &authority.pem());
    let acceptor = authority.server_named("localhost").server_tls(&[]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = acceptor.accept(stream).await.unwrap();
            let mut bytes = Vec::new();
            while !bytes.ends_with(b"grant_type=client_credentials") {
                stream.read_buf(&mut bytes).await.unwrap();
            }
            let head = "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            // No more than the end of TCP.
            stream.into_inner().0.shutdown().await.unwrap();
        }
    });
    let upstream = Upstream::start().await;
    let provider = AuthorizationServer::start();
    let endpoint = format!("https://localhost:{port}/token");
    let config = simple_config(&provider, &upstream)
        .replace(&provider.token_endpoint(), &endpoint)
        .replace(
            "client_id",
            &format!("tls.ca_file = {ca_file:?}\n client_id"),
        );
    (Gatepass::start(&config), directory)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_shows_its_end_needs_no_word_of_tls() {
    let whole = r#"{"access_token":"canary-token","token_type":"Bearer","expires_in":3600}"#;
    let (gatepass, _directory) = provider_that_hangs_up(whole).await;
    gatepass.ready().await;
    let (gatepass, _directory) = provider_that_hangs_up(r#"{"access_token":"canary-tok"#).await;
    let output = gatepass.output_with("no token to send");
    assert!(output.contains("this one may have been cut"), "{output}");
    assert!(!output.contains("docs.rs"), "{output}");
}

/// A route to an upstream that speaks HTTP/2 with TLS and has a certificate for this name.
async fn before_http2(certified: &str, keys: &str) -> (Gatepass, Http2Upstream) {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let ca_file = write(directory.path(), &authority.pem());
    let tls = authority.server_named(certified).server_tls(&["h2"]);
    let upstream = Http2Upstream::start_with(100, Some(tls)).await;
    let provider = AuthorizationServer::start();
    let plain = Upstream::start().await;
    let origin = format!("https://localhost:{}", upstream.port());
    let config = simple_config(&provider, &plain).replace(&plain.origin(), &origin);
    let trust = format!("tls.ca_file = \"{}\"", ca_file.display());
    let gatepass = Gatepass::start(&format!("{config}\n{trust}\n{keys}"));
    (gatepass.ready().await, upstream)
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_is_agreed_on_for_those_who_speak_it_and_for_all_if_the_route_says_so() {
    let (gatepass, upstream) = before_http2("localhost", "").await;
    let mut caller = http2::connect::<Full<Bytes>>(gatepass.proxy()).await;
    let answer = caller.send_request(http2::get_request("/a")).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(upstream.last().uri.scheme_str(), Some("https"));
    // This one is offered HTTP/1.1 alone, which the upstream does not speak.
    let refused = get(gatepass.proxy(), "/").await;
    assert_eq!(refused.status(), 502);
    assert!(
        refused.body().contains("see protocol of the route"),
        "{refused:?}"
    );

    let (gatepass, upstream) = before_http2("localhost", "protocol = \"http2\"").await;
    for _ in 0..3 {
        assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    }
    assert_eq!(upstream.connections(), 1);
}

/// Whether it does is known after the first handshake; otherwise each request would make another.
#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_does_not_speak_it_keeps_its_connection_all_the_same() {
    let upstream = TlsUpstream::start("localhost").await;
    let directory = tempfile::tempdir().unwrap();
    let ca_file = write(directory.path(), &upstream.ca_pem);
    let gatepass = start_with(&upstream, Some(&ca_file), "protocol = \"http2\"").await;
    for _ in 0..3 {
        assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    }
    assert_eq!(upstream.handshakes.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_name_can_be_asked_for_than_that_of_the_address() {
    let keys = "protocol = \"http2\"\ntls.server_name = \"inside.example\"";
    let (gatepass, upstream) = before_http2("inside.example", keys).await;
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    let authority = upstream.last().uri.authority().unwrap().clone();
    assert_eq!(authority.host(), "localhost", "the name is for TLS alone");
}

/// What a server does whose certificate is not even looked at.
#[derive(Debug, Clone, Copy)]
enum Silence {
    /// It says nothing.
    Stalls,
    /// It speaks HTTP without TLS.
    IsPlain,
}

async fn not_tls(silence: Silence) -> (u16, Arc<std::sync::Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::<std::sync::Mutex<Vec<u8>>>::default();
    let log = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut bytes).await {
                    log.lock().unwrap().extend(&bytes[..read]);
                    if let Silence::IsPlain = silence {
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                        let _ = stream.write_all(answer).await;
                    }
                }
            });
        }
    });
    (port, seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_who_it_should_be_gets_neither_token_nor_secret() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let ca_file = write(directory.path(), &authority.pem());
    let trust = format!("tls.ca_file = \"{}\"", ca_file.display());
    let mut cases = Vec::new();
    for silence in [Silence::Stalls, Silence::IsPlain] {
        let (port, seen) = not_tls(silence).await;
        cases.push((port, Some(seen), format!("{silence:?}")));
    }
    let expired = authority.expired_server().server_tls(&[]);
    let unnamed = authority.server_by_common_name().server_tls(&[]);
    let mut servers = Vec::new();
    for (tls, why) in [
        (expired, "expired"),
        (unnamed, "named by its common name alone"),
    ] {
        let server = Http2Upstream::start_with(1, Some(tls)).await;
        cases.push((server.port(), None, why.to_owned()));
        servers.push(server);
    }
    for (port, seen, why) in cases {
        let origin = format!("https://localhost:{port}");
        let (provider, plain) = (AuthorizationServer::start(), Upstream::start().await);
        let config = simple_config(&provider, &plain).replace(&plain.origin(), &origin);
        let keys = "timeouts.connect = \"500ms\"\nprotocol = \"http2\"";
        let gatepass = Gatepass::start(&format!("{config}\n{trust}\n{keys}"))
            .ready()
            .await;
        let answer = get(gatepass.proxy(), "/").await;
        assert_eq!(answer.status(), 502, "{why}: {answer:?}");
        assert!(answer.body().contains("TLS handshake"), "{why}: {answer:?}");

        // The same as a token endpoint.
        let config = simple_config(&provider, &plain)
            .replace(&provider.token_endpoint(), &format!("{origin}/token"))
            .replace(
                "client_id",
                &format!("{trust}\ntimeout = \"500ms\"\nclient_id"),
            );
        let gatepass = Gatepass::start(&config);
        gatepass.output_with("no token to send");
        assert_eq!(provider.count(), 1, "{why}: only the first one was asked");
        if let Some(seen) = seen {
            let seen = String::from_utf8_lossy(&seen.lock().unwrap()).into_owned();
            assert!(
                !seen.contains("canary") && !seen.contains("POST"),
                "{why}: {seen:?}"
            );
        }
    }
    for server in servers {
        assert_eq!(server.requests(), 0);
    }
}

/// Whoever replaces a certificate may write the key a while later, or the wrong one.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_without_its_key_changes_nothing_and_is_told() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let tls = authority.server().server_tls_for(Some(&authority), &["h2"]);
    let upstream = Http2Upstream::start_with(1, Some(tls)).await;
    let (provider, plain) = (AuthorizationServer::start(), Upstream::start().await);
    authority
        .client("gatepass tests", "before")
        .write(directory.path(), "client");
    let origin = format!("https://localhost:{}", upstream.port());
    let config = format!(
        "{}\nprotocol = \"http2\"\ntls.ca_file = \"{}\"\n\
         tls.client_cert_file = \"{directory}/client.crt\"\n\
         tls.client_key_file = \"{directory}/client.key\"",
        simple_config(&provider, &plain).replace(&plain.origin(), &origin),
        write(directory.path(), &authority.pem()).display(),
        directory = directory.path().display(),
    );
    let gatepass = Gatepass::start(&config).ready().await;
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);

    let next = authority.client("gatepass tests", "after");
    std::fs::write(directory.path().join("client.crt"), &next.certificate).unwrap();
    let refused = r#"gatepass_config_reloads_total{outcome="failure"}"#;
    gatepass.wait_for_metric(refused, 1.0).await;
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    assert_eq!(upstream.connections(), 1, "what runs is what ran");
    let ready = get(gatepass.admin(), "/readyz").await;
    assert_eq!(ready.status(), 200);
    let told = format!(
        "routes[0].tls.client_key_file: found {}/client.key does not go with the certificate",
        directory.path().display()
    );
    assert!(ready.body().contains(&told), "{}", ready.body());

    std::fs::write(directory.path().join("client.key"), &next.key).unwrap();
    let taken_up = r#"gatepass_config_reloads_total{outcome="success"}"#;
    gatepass.wait_for_metric(taken_up, 1.0).await;
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    assert_eq!(upstream.connections(), 2, "by the new certificate");
}
