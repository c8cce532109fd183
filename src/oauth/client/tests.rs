use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{advance, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::oauth::{
    ClientAuthentication, EndpointSettings, RequestSettings, Secret, TokenLocation,
    TransportSettings,
};
use crate::tls;

const LIMIT: Duration = Duration::from_secs(2);

/// Answers after so long, each time with another refresh token.
async fn provider(listener: TcpListener, thinks_for: Duration) {
    for number in 1.. {
        let (mut stream, _) = listener.accept().await.unwrap();
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
            timeout: LIMIT,
            tls: tls::client_config(&tls::Trust::Nobody, None).unwrap(),
            egress_proxy: None,
            plain_http: true,
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
        ..Refusal::new(FetchError::new(FailureKind::Refused, "invalid_grant"))
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
    let nobody = FetchError::new(FailureKind::Refused, "nobody has logged in");
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
