//! Tokens that are checked before they are used: signature, issuer, audience, and keys that change.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::json;

use crate::support::{AuthorizationServer, Gatepass, Reply, Upstream, get, simple_config};

const ISSUER: &str = "https://id.example";

/// A key of the provider's.
struct Signer {
    key: EncodingKey,
    id: &'static str,
}

impl Signer {
    fn new(id: &'static str) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
        Self { key, id }
    }

    fn jwk(&self) -> Jwk {
        let mut jwk = Jwk::from_encoding_key(&self.key, Algorithm::ES256).unwrap();
        jwk.common.key_id = Some(self.id.into());
        if self.id == "encrypts" {
            jwk.common.public_key_use = Some(PublicKeyUse::Encryption);
        }
        jwk
    }

    fn token(&self, audience: &str) -> Reply {
        self.says(&json!({ "iss": ISSUER, "aud": audience, "sub": "canary" }))
    }

    fn says(&self, claims: &serde_json::Value) -> Reply {
        let header = Header {
            kid: Some(self.id.into()),
            ..Header::new(Algorithm::ES256)
        };
        let token = jsonwebtoken::encode(&header, claims, &self.key).unwrap();
        answer(&token)
    }
}

fn answer(token: &str) -> Reply {
    let body = json!({ "access_token": token, "token_type": "Bearer", "expires_in": 3_600 });
    Reply::Json(200, body.to_string())
}

fn publish(provider: &AuthorizationServer, signers: &[&Signer]) {
    let keys = signers.iter().map(|signer| signer.jwk()).collect();
    let set = serde_json::to_value(JwkSet { keys }).unwrap();
    provider.publish("/jwks", set);
}

fn config(provider: &AuthorizationServer, upstream: &Upstream, audience: &str) -> String {
    let verify = format!(
        "verify = {{ jwks_uri = \"http://{}/jwks\", issuer = \"{ISSUER}\", audience = \"{audience}\" }}",
        provider.address()
    );
    simple_config(provider, upstream).replace("client_id", &format!("{verify}\nclient_id"))
}

/// gatepass with a token that this key has signed.
async fn trusting(signer: &Signer) -> (Gatepass, AuthorizationServer, Upstream) {
    let (provider, upstream) = (AuthorizationServer::start(), Upstream::start().await);
    publish(&provider, &[signer]);
    provider.otherwise(signer.token("orders"));
    let gatepass = Gatepass::start(&config(&provider, &upstream, "orders"))
        .ready()
        .await;
    (gatepass, provider, upstream)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_token_is_used_and_new_keys_are_found() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let (gatepass, provider, _upstream) = trusting(&old).await;
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);

    publish(&provider, &[&new]);
    provider.otherwise(new.token("orders"));
    gatepass.order_refresh("envase").await;
    let successes = r#"gatepass_token_refreshes_total{credential="envase",outcome="success"}"#;
    gatepass.wait_for_metric(successes, 2.0).await;

    // They are kept as well.
    provider.publish("/jwks", "gone");
    gatepass.order_refresh("envase").await;
    gatepass.wait_for_metric(successes, 3.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_fails_the_check_is_not_used_and_the_reason_is_told() {
    let stranger = Signer::new("known");
    let unsigned = "e30.eyJpc3MiOiJ4In0.c2ln";
    let by_secret = jsonwebtoken::encode(
        &Header::new(Algorithm::HS256),
        &json!({ "iss": ISSUER, "aud": "orders" }),
        &EncodingKey::from_secret(b"public key"),
    );
    let known = Signer::new("known");
    let encrypts = Signer::new("encrypts");
    let critical = {
        let header = r#"{"alg":"ES256","kid":"known","crit":["b64"]}"#;
        format!("{}.e30.c2ln", BASE64_URL_SAFE_NO_PAD.encode(header))
    };
    let mut told = Vec::new();
    for reply in [
        known.token("invoices"),
        stranger.token("orders"),
        Signer::new("unknown").token("orders"),
        answer(&by_secret.unwrap()),
        answer(unsigned),
        encrypts.token("orders"),
        answer(&critical),
        answer("opaque"),
        known.says(&json!({ "iss": "https://other.example", "aud": "orders" })),
        known.says(&json!({ "aud": "orders" })),
        known.says(&json!({ "iss": ISSUER, "aud": "orders", "nbf": 4_000_000_000_u64 })),
        known.says(&json!({ "iss": ISSUER, "aud": "orders", "nbf": "tomorrow" })),
    ] {
        let (provider, upstream) = (AuthorizationServer::start(), Upstream::start().await);
        publish(&provider, &[&known, &encrypts]);
        provider.otherwise(reply);
        let gatepass = Gatepass::start(&config(&provider, &upstream, "orders"));
        gatepass.wait_for_probe("/startupz").await;
        assert_eq!(get(gatepass.proxy(), "/").await.status(), 503);
        assert_eq!(upstream.requests(), 0);
        let refused = r#"gatepass_token_refreshes_total{credential="envase",outcome="unverified"}"#;
        assert_eq!(gatepass.metric(refused).await, 1.0);
        let ready = get(gatepass.admin(), "/readyz").await.into_body();
        let (_, why) = ready.split_once("handed out ").unwrap();
        let why = why.split("; next attempt").next().unwrap();
        told.push(format!("handed out {why}"));
    }
    insta::assert_snapshot!(told.join("\n"));
}

/// Not every provider gives a new key a new name.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_by_the_old_name_is_found() {
    let (old, new) = (Signer::new("the"), Signer::new("the"));
    let (gatepass, provider, _upstream) = trusting(&old).await;
    publish(&provider, &[&new]);
    provider.otherwise(new.token("orders"));
    gatepass.order_refresh("envase").await;
    let successes = r#"gatepass_token_refreshes_total{credential="envase",outcome="success"}"#;
    gatepass.wait_for_metric(successes, 2.0).await;
}

/// A token was handed out and paid for: what cannot be checked now is not asked for again at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_whose_new_key_cannot_be_had_is_not_used() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let (gatepass, provider, upstream) = trusting(&old).await;
    provider.publish("/jwks", "gone");
    provider.otherwise(new.token("orders"));
    gatepass.order_refresh("envase").await;
    let unverified = r#"gatepass_token_refreshes_total{credential="envase",outcome="unverified"}"#;
    gatepass.wait_for_metric(unverified, 1.0).await;
    gatepass.output_with("its key is not known, and key set");
    get(gatepass.proxy(), "/").await;
    assert_eq!(upstream.requests(), 1, "the old token is still good");
    assert!(provider.count() <= 3);
}

/// Keys that cannot be had cost no token requests.
#[tokio::test(flavor = "multi_thread")]
async fn without_keys_no_token_is_asked_for() {
    let (provider, upstream) = (AuthorizationServer::start(), Upstream::start().await);
    let gatepass = Gatepass::start(&config(&provider, &upstream, "orders"));
    gatepass.output_with("answered 404; check verify.jwks_uri");
    provider.publish("/jwks", "[]");
    gatepass.output_with("is no JSON Web Key Set");
    assert_eq!(provider.count(), 0);
    let signer = Signer::new("a");
    publish(&provider, &[&signer]);
    provider.otherwise(signer.token("orders"));
    gatepass.wait_for_probe("/readyz").await;
    assert_eq!(provider.count(), 1);
}
