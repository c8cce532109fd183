//! Every way in which a client proves who it is, judged by a certified provider.

use std::fs;
use std::path::Path;

use rcgen::{
    CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256,
    RsaKeySize,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::oidc_provider::OidcProvider;
use crate::support::certificates::{Authority, Identity, named};
use crate::support::{Gatepass, get};
use crate::waiting::{renew, the_line_with};

/// With all that has to be encoded, and long enough for HMAC with SHA-256.
const SECRET: &str = "canary+/%:=& s3cret of more than 32 bytes";

/// Three on top of the first.
const RENEWALS: u64 = 3;

/// A client as the provider knows it, and the keys of its credential besides name and endpoint.
struct Client {
    name: &'static str,
    metadata: Value,
    config: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_and_signatures_prove_who_the_client_is() {
    let directory = tempfile::tempdir().unwrap();
    let rsa = || KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let ec = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let ed = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let mut clients = vec![
        by_secret("client_secret_basic"),
        by_secret("client_secret_post"),
        by_secret("client_secret_jwt"),
        by_signature("by-rs256", "RS256", &rsa(), &directory),
        by_signature("by-ps256", "PS256", &rsa(), &directory),
        by_signature("by-es256", "ES256", &ec, &directory),
        by_signature("by-eddsa", "EdDSA", &ed, &directory),
    ];
    let provider = OidcProvider::start_with(&json!({
        "clients": clients.iter().map(|client| &client.metadata).collect::<Vec<_>>(),
        "token_seconds": 60,
    }));
    // What cannot be told from the key has to be written.
    clients[4].config += "signing_algorithm = \"PS256\"\n";
    // The name of the provider is as good an audience as its token endpoint, and what newer
    // standards ask for.
    clients[5].config += &format!("assertion_audience = \"{}\"\n", provider.issuer());

    let endpoint = format!("token_endpoint = \"{}\"", provider.token_endpoint());
    renew_three_times(&provider, &clients, &endpoint).await;

    let counts = provider.counts().await;
    let each = RENEWALS + 1;
    assert_eq!(
        counts["methods"],
        json!({
            "client_secret_basic": each,
            "client_secret_post": each,
            "client_secret_jwt": each,
            "private_key_jwt": 4 * each,
        })
    );
    assert_eq!(counts["errors"], json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_prove_who_the_client_is() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let server = authority.server();
    let own = self_signed("tms");
    let by_authority = by_certificate(
        "tls_client_auth",
        &authority.client("haulage", "tms"),
        &directory,
        &json!({ "tls_client_auth_subject_dn": "CN=tms,O=haulage" }),
    );
    let by_itself = by_certificate(
        "self_signed_tls_client_auth",
        &own,
        &directory,
        &json!({ "certificate": own.certificate }),
    );
    let clients = [by_authority, by_itself];
    let provider = OidcProvider::start_with(&json!({
        "clients": clients.iter().map(|client| &client.metadata).collect::<Vec<_>>(),
        "token_seconds": 60,
        "tls": { "cert": server.certificate, "key": server.key, "ca": authority.pem() },
    }));
    let ca_file = directory.path().join("ca.pem");
    fs::write(&ca_file, authority.pem()).unwrap();
    let endpoint = format!(
        "issuer = \"{}\"\ntls.ca_file = \"{}\"",
        provider.issuer(),
        ca_file.display()
    );
    renew_three_times(&provider, &clients, &endpoint).await;

    let counts = provider.counts().await;
    let each = RENEWALS + 1;
    let methods = json!({ "tls_client_auth": each, "self_signed_tls_client_auth": each });
    assert_eq!(counts["methods"], methods);
    assert_eq!(counts["errors"], json!({}));

    // The certificate of another is none.
    let [by_authority, by_itself] = clients;
    let impostor = Client {
        config: by_itself
            .config
            .replace("\"self_signed_tls_client_auth\"", "\"tls_client_auth\""),
        ..by_authority
    };
    let gatepass = Gatepass::start(&config(&provider, &[impostor], &endpoint));
    let line = the_line_with(&gatepass, "invalid_client");
    assert!(line.contains("tls_client_auth"), "{line}");
    assert!(line.contains(&provider.token_endpoint()), "{line}");
    let counts = provider.counts().await;
    let error = "invalid_client: client certificate was not verified";
    assert_eq!(counts["errors"], json!({ error: 1 }));
}

/// Every client gets a token and renews it; the provider calls each of them good.
async fn renew_three_times(provider: &OidcProvider, clients: &[Client], endpoint: &str) {
    let gatepass = Gatepass::start(&config(provider, clients, endpoint))
        .ready()
        .await;
    for _ in 0..RENEWALS {
        for client in clients {
            renew(&gatepass, client.name).await;
            let path = format!("/{}/verify", client.name);
            let verified = get(gatepass.proxy(), &path).await;
            assert_eq!(verified.status(), 204, "{}", client.name);
        }
    }
}

/// A credential and a route for each client. The upstream is the provider, which judges tokens.
fn config(provider: &OidcProvider, clients: &[Client], endpoint: &str) -> String {
    let upstream = provider.address();
    let parts = clients.iter().map(|Client { name, config, .. }| {
        format!(
            r#"
[credentials.{name}]
{endpoint}
client_id = "{name}"
scope = "connectdata/events"
{config}

[[routes]]
path = "/{name}"
strip_path = true
upstream = "http://{upstream}"
credential = "{name}"
"#
        )
    });
    parts.collect()
}

fn by_secret(method: &'static str) -> Client {
    Client {
        name: method,
        metadata: json!({
            "client_id": method,
            "client_secret": SECRET,
            "token_endpoint_auth_method": method,
        }),
        config: format!(
            "token_endpoint_auth_method = \"{method}\"\nclient_secret = \"{SECRET}\"\n"
        ),
    }
}

fn by_signature(name: &'static str, algorithm: &str, key: &KeyPair, directory: &TempDir) -> Client {
    let file = write(
        directory.path(),
        &format!("{name}.key"),
        &key.serialize_pem(),
    );
    Client {
        name,
        metadata: json!({
            "client_id": name,
            "token_endpoint_auth_method": "private_key_jwt",
            "public_keys": [
                { "pem": key.public_key_pem(), "kid": "of-the-tests", "alg": algorithm },
            ],
        }),
        config: format!(
            "token_endpoint_auth_method = \"private_key_jwt\"\nprivate_key_file = \"{file}\"\n\
             private_key_id = \"of-the-tests\"\n"
        ),
    }
}

fn by_certificate(
    method: &'static str,
    identity: &Identity,
    directory: &TempDir,
    further: &Value,
) -> Client {
    let certificate = format!("{method}.pem");
    let certificate = write(directory.path(), &certificate, &identity.certificate);
    let key = write(directory.path(), &format!("{method}.key"), &identity.key);
    let mut metadata = further.clone();
    metadata["client_id"] = method.into();
    metadata["token_endpoint_auth_method"] = method.into();
    Client {
        name: method,
        metadata,
        config: format!(
            "token_endpoint_auth_method = \"{method}\"\ntls.client_cert_file = \"{certificate}\"\n\
             tls.client_key_file = \"{key}\"\n"
        ),
    }
}

fn write(directory: &Path, name: &str, content: &str) -> String {
    let file = directory.join(name);
    fs::write(&file, content).unwrap();
    file.display().to_string()
}

/// A client's certificate that nobody but the client vouches for.
fn self_signed(name: &str) -> Identity {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = named(&[(DnType::CommonName, name)]);
    let key = KeyPair::generate().unwrap();
    Identity {
        certificate: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}
