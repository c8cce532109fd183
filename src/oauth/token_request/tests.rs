use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::*;
use crate::oauth::grant::{Statement, TokenExchange};
use crate::oauth::{
    Assertion, ClientAuthentication, EndpointSettings, Grant, KeySource, SigningKey,
    TransportSettings,
};

const ENDPOINT: &str = "https://id.example/token";

fn secret(value: &str) -> Secret {
    Secret::Value(value.into())
}

/// With every option set at once.
fn everything(grant: Grant, client_authentication: ClientAuthentication) -> ProviderSettings {
    ProviderSettings {
        endpoint: EndpointSettings::At(ENDPOINT.parse().unwrap()),
        grant,
        client_id: Some("the app".into()),
        client_authentication,
        previous_client_secret: None,
        request: RequestSettings {
            scope: Some("a/b c:d".into()),
            audience: Some("https://api.example/v1".into()),
            resource: vec!["https://one.example".into(), "https://two.example".into()],
            parameters: vec![("tenant".into(), secret("t&1"))],
            headers: vec![
                (ACCEPT, secret("application/json; version=2")),
                (HeaderName::from_static("x-api-key"), secret("canary")),
            ],
            body_format: BodyFormat::Form,
        },
        session_file: None,
        verification: None,
        transport: TransportSettings::trusting_nobody(Duration::from_secs(10)),
    }
}

fn nothing_but(grant: Grant, client_authentication: ClientAuthentication) -> ProviderSettings {
    ProviderSettings {
        request: RequestSettings::default(),
        ..everything(grant, client_authentication)
    }
}

fn basic() -> ClientAuthentication {
    ClientAuthentication::SecretBasic(secret("p+q %/=&"))
}

fn signing_key(key_id: &str) -> SigningKey {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    SigningKey {
        key: KeySource::Pem(Secret::Value(pair.serialize_pem().into())),
        algorithm: None,
        key_id: Some(key_id.into()),
    }
}

/// A request as text. What a JWT says stands in its place, without what is another each time.
fn shown(request: &TokenRequest) -> String {
    let mut lines = vec![request.url.to_string()];
    let mut headers: Vec<_> = request
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    headers.sort();
    lines.append(&mut headers);
    match request.body.as_str() {
        json if json.starts_with('{') => lines.push(json.to_owned()),
        form => lines.extend(form.split('&').map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            format!(
                "  {name}={}",
                claims(value).unwrap_or_else(|| value.to_owned())
            )
        })),
    }
    lines.join("\n")
}

fn claims(jwt: &str) -> Option<String> {
    let parts: Vec<_> = jwt.split('.').collect();
    let [header, payload, _] = parts.as_slice() else {
        return None;
    };
    let read = |part: &str| -> Option<Map<String, Value>> {
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok()
    };
    let (header, mut payload) = (read(header)?, read(payload)?);
    for varying in ["iat", "exp", "jti"] {
        payload.remove(varying)?;
    }
    let header = Value::Object(header);
    Some(format!("<JWT {header} {}>", Value::Object(payload)))
}

async fn sign_in_shown(settings: &ProviderSettings) -> String {
    let request = sign_in(settings, &ENDPOINT.parse().unwrap()).await.unwrap();
    shown(&request)
}

#[tokio::test]
async fn every_option_at_once_for_every_client_authentication() {
    let p = || secret("p+q %/=&");
    let audience = || Some("https://id.example".to_owned());
    let mut all = Vec::new();
    for authentication in [
        ClientAuthentication::SecretBasic(p()),
        ClientAuthentication::SecretBasicRaw(p()),
        ClientAuthentication::SecretPost(p()),
        ClientAuthentication::SecretJwt {
            secret: p(),
            audience: None,
        },
        ClientAuthentication::PrivateKeyJwt {
            key: signing_key("key-1"),
            audience: audience(),
        },
        ClientAuthentication::AssertionFile {
            file: secret("made.by.others"),
            kind: "urn:example:kind".into(),
        },
        ClientAuthentication::Certificate,
        ClientAuthentication::Nothing,
    ] {
        let settings = everything(Grant::ClientCredentials, authentication);
        all.push(sign_in_shown(&settings).await);
    }
    for authentication in [basic(), ClientAuthentication::SecretPost(p())] {
        let mut settings = everything(Grant::ClientCredentials, authentication);
        settings.request.body_format = BodyFormat::Json;
        all.push(sign_in_shown(&settings).await);
    }
    insta::assert_snapshot!(all.join("\n\n"));
}

fn grants() -> Vec<Grant> {
    let signed = |key| {
        Assertion::Signed(Statement {
            key,
            issuer: None,
            subject: Some("alice".into()),
            audience: None,
            claims: BTreeMap::from([("box_sub_type".into(), "enterprise".into())]),
        })
    };
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let account = serde_json::json!({
        "client_email": "robot@project.example",
        "private_key": pair.serialize_pem(),
        "private_key_id": "account-key",
    });
    let account_key = SigningKey {
        key: KeySource::ServiceAccount(secret(&account.to_string())),
        algorithm: None,
        key_id: None,
    };
    vec![
        Grant::Password {
            username: "bob&".into(),
            password: secret("p w"),
        },
        Grant::RefreshToken {
            first: secret("r1"),
        },
        Grant::JwtBearer(Assertion::File(secret("made.by.others"))),
        Grant::JwtBearer(signed(signing_key("key-2"))),
        Grant::JwtBearer(signed(account_key)),
        Grant::TokenExchange(TokenExchange {
            subject_token: secret("pod-token"),
            subject_token_type: "urn:ietf:params:oauth:token-type:jwt".into(),
            actor: Some((secret("actor"), "urn:example:actor".into())),
            requested_token_type: Some("urn:example:wanted".into()),
        }),
        Grant::HttpBasic {
            username: "bob".into(),
            password: secret("p w"),
        },
        Grant::IdentityToolkit {
            email: "bob@example.com".into(),
            password: secret("p w"),
            api_key: secret("k&y"),
            refresh_endpoint: "https://refresh.example/token".parse().unwrap(),
        },
    ]
}

#[tokio::test]
async fn every_grant_signs_in_with_every_option_and_with_none() {
    let mut all = Vec::new();
    for grant in grants() {
        all.push(sign_in_shown(&everything(grant.clone(), basic())).await);
        all.push(sign_in_shown(&nothing_but(grant, ClientAuthentication::Nothing)).await);
    }
    insta::assert_snapshot!(all.join("\n\n"));
}

#[tokio::test]
async fn sessions_are_continued_with_the_refresh_token() {
    let mut all = Vec::new();
    let sessions = grants().into_iter().filter(Grant::keeps_session);
    for grant in sessions {
        let settings = everything(grant, basic());
        let endpoint = ENDPOINT.parse().unwrap();
        let request = refresh(&settings, &endpoint, &"r2/+".into()).await.unwrap();
        let said = request.confidential.blot_out("r2/+ and r2%2F%2B");
        assert_eq!(said, "••• and •••");
        all.push(shown(&request));
    }
    insta::assert_snapshot!(all.join("\n\n"));
}

#[tokio::test]
async fn what_is_not_set_is_not_sent() {
    let settings = nothing_but(Grant::ClientCredentials, basic());
    let request = sign_in(&settings, &ENDPOINT.parse().unwrap())
        .await
        .unwrap();
    assert_eq!(request.body, "grant_type=client_credentials");
    assert!(request.headers[AUTHORIZATION].is_sensitive());
}

#[tokio::test]
async fn a_value_that_breaks_the_head_is_named_and_not_shown() {
    let mut settings = nothing_but(Grant::ClientCredentials, basic());
    settings.request.headers = vec![(ACCEPT, secret("canary\r\nX: y"))];
    let refused = sign_in(&settings, &ENDPOINT.parse().unwrap()).await;
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("the field accept"), "{error}");
    assert!(!error.contains("canary"), "{error}");
}

/// Some providers quote what they were sent when they say no.
#[tokio::test]
async fn whatever_proves_something_is_blotted_out() {
    const PROOFS: [&str; 8] = [
        "actor_token",
        "assertion",
        "client_assertion",
        "client_secret",
        "password",
        "refresh_token",
        "subject_token",
        "tenant",
    ];
    let ways = || {
        let (secret, key) = (secret("p+q %/=&"), signing_key("key-1"));
        let audience = None;
        [
            basic(),
            ClientAuthentication::SecretPost(secret.clone()),
            ClientAuthentication::SecretJwt { secret, audience },
            ClientAuthentication::PrivateKeyJwt {
                key,
                audience: None,
            },
        ]
    };
    let endpoint = ENDPOINT.parse().unwrap();
    for grant in grants() {
        for way in ways() {
            let settings = ProviderSettings {
                request: RequestSettings {
                    body_format: BodyFormat::Json,
                    ..everything(grant.clone(), way.clone()).request
                },
                ..everything(grant.clone(), way)
            };
            let request = sign_in(&settings, &endpoint).await.unwrap();
            let body: Map<String, Value> = serde_json::from_str(&request.body).unwrap();
            let proofs = body
                .iter()
                .filter(|(name, _)| PROOFS.contains(&name.as_str()));
            // Shorter ones are words of others as well.
            let mut proofs: Vec<_> = proofs
                .map(|(_, value)| value.as_str().unwrap().to_owned())
                .filter(|proof| proof.len() >= 4)
                .collect();
            let spelt: Vec<_> = proofs
                .iter()
                .flat_map(|proof| [encode(proof), BASE64_STANDARD.encode(proof)])
                .collect();
            proofs.extend(spelt);
            let basic = request.headers.get(AUTHORIZATION);
            let basic = basic.and_then(|value| value.to_str().ok()?.strip_prefix("Basic "));
            proofs.extend(basic.map(str::to_owned));
            for proof in proofs {
                let told = request.confidential.blot_out(&format!("not {proof}!"));
                assert!(!told.contains(&proof), "{told}");
            }
        }
    }
}
