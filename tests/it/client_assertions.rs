//! Statements that prove who a client is: signed with a key that may change, or made by others.

use std::fs;

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use rcgen::{KeyPair, PKCS_ED25519};
use serde_json::Value;

use crate::support::{AuthorizationServer, CLIENT_SECRET, Gatepass, Upstream, simple_config};

fn config(provider: &AuthorizationServer, upstream: &Upstream, keys: &str) -> String {
    let secret = format!("client_secret = \"{CLIENT_SECRET}\"");
    let config = simple_config(provider, upstream);
    assert!(config.contains(&secret));
    config.replace(&secret, keys)
}

/// The statement of the newest token request, if this key has signed it.
fn stated(provider: &AuthorizationServer, key: &KeyPair) -> Option<Value> {
    let request = provider.requests().pop().unwrap();
    let kind = request.parameter("client_assertion_type").unwrap();
    assert_eq!(
        kind,
        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    );
    assert_eq!(request.header("authorization"), None);
    let statement = request.parameter("client_assertion").unwrap();
    let public = DecodingKey::from_ed_pem(key.public_key_pem().as_bytes()).unwrap();
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&[provider.token_endpoint()]);
    let decoded = decode::<Value>(&statement, &public, &validation).ok()?;
    Some(decoded.claims)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_replaced_signs_the_next_statement() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key.pem");
    let (old, new) = (
        KeyPair::generate_for(&PKCS_ED25519).unwrap(),
        KeyPair::generate_for(&PKCS_ED25519).unwrap(),
    );
    fs::write(&file, old.serialize_pem()).unwrap();
    let keys = format!("private_key_file = \"{}\"", file.display());
    let gatepass = Gatepass::start(&config(&provider, &upstream, &keys))
        .ready()
        .await;
    let first = stated(&provider, &old).expect("signed with the old key");
    assert_eq!(
        (&first["iss"], &first["sub"]),
        (&"tms".into(), &"tms".into())
    );

    fs::write(directory.path().join("next"), new.serialize_pem()).unwrap();
    fs::rename(directory.path().join("next"), &file).unwrap();
    gatepass.order_refresh("envase").await;
    provider.wait_for_requests(2).await;
    let second = stated(&provider, &new).expect("signed with the new key");
    assert_ne!(first["jti"], second["jti"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_of_others_is_read_at_each_use() {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("projected");
    fs::write(&file, "canary-first\n").unwrap();
    let keys = format!("client_assertion_file = \"{}\"", file.display());
    let gatepass = Gatepass::start(&config(&provider, &upstream, &keys))
        .ready()
        .await;
    fs::write(&file, "canary-second\n").unwrap();
    gatepass.order_refresh("envase").await;
    provider.wait_for_requests(2).await;
    let requests = provider.requests();
    let statements = requests
        .iter()
        .map(|it| it.parameter("client_assertion").unwrap());
    assert_eq!(
        statements.collect::<Vec<_>>(),
        ["canary-first", "canary-second"]
    );
}
