use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{advance, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::oauth::{
    ClientAuthentication, EndpointSettings, RequestSettings, Secret, TokenLocation,
    TransportSettings,
};

const LIMIT: Duration = Duration::from_secs(2);

/// Answers after so long, each time with another refresh token.
async fn provider(listener: TcpListener, thinks_for: Duration) {
    for number in 1.. {
        let (mut stream, _) = listener.accept().await.unwrap();
        answer_once(&mut stream, thinks_for, number).await;
    }
}

async fn answer_once(stream: &mut TcpStream, thinks_for: Duration, number: u32) {
    let mut request = Vec::new();
    while !String::from_utf8_lossy(&request).contains("=refresh-") {
        assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
    }
    sleep(thinks_for).await;
    let body = format!(
        r#"{{"access_token":"token-{number}","expires_in":60,"refresh_token":"refresh-{number}"}}"#
    );
    let length = body.len();
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(answer.as_bytes()).await.unwrap();
}

fn settings(port: u16, session_file: PathBuf) -> ProviderSettings {
    ProviderSettings {
        endpoint: EndpointSettings::At(format!("http://127.0.0.1:{port}/").parse().unwrap()),
        grant: Grant::RefreshToken {
            first: Secret::Value("refresh-0".into()),
        },
        client_id: Some("tms".into()),
        client_authentication: ClientAuthentication::SecretBasic(Secret::Value("s3cret".into())),
        previous_client_secret: None,
        request: RequestSettings::default(),
        session_file: Some(session_file),
        verification: None,
        transport: TransportSettings {
            plain_http: true,
            ..TransportSettings::trusting_nobody(LIMIT)
        },
    }
}

fn client(settings: ProviderSettings) -> Client {
    let answer = AnswerSettings {
        token: vec![TokenLocation::default()],
        token_type: None,
        default_lifetime: LIMIT,
    };
    Client::new("clerk".into(), settings, answer, String::new(), None).unwrap()
}

/// Another sign-in is another matter: a provider's word is enough for it.
#[tokio::test(start_paused = true)]
async fn what_nothing_can_begin_anew_is_given_up_when_it_was_refused_for_long() {
    let invalid = Refusal {
        of_the_grant: true,
        ..Refusal::new(FailureKind::Refused.because("invalid_grant"))
    };
    let kept = "refresh-1".into();
    let mut settings = settings(1, "session".into());
    let only_way = client(settings.clone());
    for _ in 0..10 {
        assert!(!only_way.is_over(&kept, &invalid));
        advance(LONGEST_MISTAKE / 10).await;
    }
    assert!(only_way.is_over(&kept, &invalid));
    only_way.session.forget(&kept, &invalid.error).await;
    let nobody = FailureKind::Refused.because("nobody has logged in");
    let told = only_way.nobody_logged_in(nobody).message;
    assert!(
        told.ends_with("the session is over: invalid_grant"),
        "{told}"
    );

    settings.grant = Grant::Password {
        username: "clerk".into(),
        password: Secret::Value("password".into()),
    };
    assert!(client(settings).is_over(&kept, &invalid));
}

#[tokio::test]
async fn a_save_that_hangs_costs_no_token_however_long_the_provider_took() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let provider = AbortOnDropHandle::new(tokio::spawn(provider(listener, LIMIT * 6 / 10)));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("session");
    let client = client(settings(port, file.clone()));
    client.fetch(Occasion::Due).await.unwrap();
    assert!(
        std::fs::read_to_string(&file)
            .unwrap()
            .contains("refresh-1")
    );

    let _hanging = client.session.hang().await;
    let begun = Instant::now();
    for number in [2, 3] {
        let fetched = client.fetch(Occasion::Due).await.unwrap();
        assert_eq!(fetched.secret.expose_secret(), format!("token-{number}"));
    }
    assert!(begun.elapsed() < LIMIT * 2 * 3 / 2);

    // The end of the attempt is still one for a provider that is silent.
    drop(provider);
    let error = client.fetch(Occasion::Due).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Unavailable);
}

/// Minutes lie between two attempts: a kept connection would be found dead, and cost the second one.
#[tokio::test]
async fn each_attempt_has_a_connection_of_its_own() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let _provider = AbortOnDropHandle::new(tokio::spawn(async move {
        let mut open = Vec::new();
        for number in 1.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            answer_once(&mut stream, Duration::ZERO, number).await;
            // It would take another request there.
            open.push(stream);
        }
    }));
    let directory = tempfile::tempdir().unwrap();
    let client = client(settings(port, directory.path().join("session")));
    for number in [1, 2] {
        let fetched = client.fetch(Occasion::Due).await.unwrap();
        assert_eq!(fetched.secret.expose_secret(), format!("token-{number}"));
    }
}

/// A login has no other limit.
#[tokio::test]
async fn every_call_comes_to_an_end() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let mut settings = settings(port, "session".into());
    settings.transport.timeout = Duration::from_millis(100);
    let transport = Transport::new(&settings.transport).unwrap();
    let url = format!("http://127.0.0.1:{port}/").parse().unwrap();
    let peer = Peer::key_set(&url);
    let called = timeout(LIMIT * 2, transport.get(&peer, &url));
    let error = called.await.unwrap().err().unwrap();
    assert!(
        error.message.ends_with("did not answer within 100ms"),
        "{error}"
    );
}

/// Whatever a provider's metadata names.
#[tokio::test]
async fn no_secret_goes_to_an_address_without_tls_where_none_is_configured() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut settings = settings(port, "session".into());
    settings.transport.plain_http = false;
    let transport = Transport::new(&settings.transport).unwrap();
    let url = format!("http://127.0.0.1:{port}/").parse().unwrap();
    let peer = Peer::key_set(&url);
    let called = transport.get(&peer, &url);
    tokio::select! {
        _ = listener.accept() => panic!("it is called"),
        answer = called => drop(answer.err().unwrap()),
    }
}

/// Answers each of these, and hands on what was asked.
async fn answers(listener: TcpListener, answers: Vec<(u16, String)>) -> Vec<String> {
    let mut asked = Vec::new();
    for (status, body) in answers {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        let is_post = |text: &str| text.starts_with("POST");
        loop {
            assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
            let text = String::from_utf8_lossy(&request);
            let end = if is_post(&text) {
                "refresh-"
            } else {
                "\r\n\r\n"
            };
            if text.contains(end) {
                asked.push(text.into_owned());
                break;
            }
        }
        let length = body.len();
        let answer = format!("HTTP/1.1 {status} So\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
    asked
}

/// The one before it may be used up.
#[tokio::test]
async fn a_refresh_token_beside_a_token_that_cannot_be_used_is_gone_on_with() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let unusable = r#"{"access_token":"t","expires_in":0,"refresh_token":"refresh-1"}"#;
    let replies = vec![(200, unusable.to_owned()); 2];
    let provider = tokio::spawn(answers(listener, replies));
    let directory = tempfile::tempdir().unwrap();
    let client = client(settings(port, directory.path().join("session")));
    for _ in 0..2 {
        let error = client.fetch(Occasion::Due).await.unwrap_err();
        assert_eq!(error.kind, FailureKind::Malformed);
    }
    let asked = provider.await.unwrap();
    assert!(asked[0].contains("refresh-0"), "{asked:?}");
    assert!(asked[1].contains("refresh-1"), "{asked:?}");
}

#[tokio::test]
async fn whoever_has_no_document_of_openid_may_have_one_of_oauth() {
    for status in [404, 405, 410] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let issuer = format!("http://127.0.0.1:{port}");
        let document = format!(r#"{{"issuer":"{issuer}","token_endpoint":"{issuer}/token"}}"#);
        let replies = vec![(status, String::new()), (200, document)];
        let provider = tokio::spawn(answers(listener, replies));
        let mut settings = settings(port, "session".into());
        settings.endpoint = EndpointSettings::OfIssuer(issuer.parse().unwrap());
        let found = client(settings).token_endpoint().await.unwrap();
        assert_eq!(found.path(), "/token", "{status}");
        provider.await.unwrap();
    }
}
