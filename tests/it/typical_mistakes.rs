//! The mistakes that people make most: each is called by its name by `check` or `doctor`.

mod further;
mod place;
mod rare;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use place::Place;
use rcgen::KeyPair;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::certificates::{Authority, Identity};
use crate::support::upstream::Refusal;
use crate::support::{CANARY, Reply};

/// Answers every request over TLS with a 404.
pub async fn tls_server(identity: &Identity) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = identity.server_tls(&[]);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await?;
                let mut head = [0; 4096];
                let _ = stream.read(&mut head).await?;
                stream
                    .write_all(b"HTTP/1.1 404 None\r\nContent-Length: 0\r\n\r\n")
                    .await?;
                stream.shutdown().await
            });
        }
    });
    address
}

fn jwt(claims: &Value) -> String {
    let payload = BASE64_URL_SAFE_NO_PAD.encode(claims.to_string());
    format!(
        r#"{{"access_token":"e30.{payload}.{CANARY}","token_type":"Bearer","expires_in":3600}}"#
    )
}

fn said_no(status: u16, error: &str) -> Reply {
    Reply::Json(status, json!({ "error": error }).to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_is_called_by_its_name() {
    let mut told = String::new();
    let mut tell = |mistake: &str, said: String| {
        let _ = writeln!(told, "## {mistake}\n{said}\n");
    };
    let of_the_provider = [
        ("a wrong secret", said_no(401, "invalid_client")),
        ("a grant that the client may not use", said_no(400, "unauthorized_client")),
        ("a wrong scope", said_no(400, "invalid_scope")),
        (
            "a proxy on the way that answers with a page",
            Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 15\r\n\r\n<html>Hi</html>".into()),
        ),
        (
            "a token endpoint that redirects",
            Reply::Bytes(b"HTTP/1.1 302 Found\r\nLocation: https://id.example/\r\nContent-Length: 0\r\n\r\n".into()),
        ),
        (
            "a secret of Entra that is only its identifier",
            Reply::Json(
                401,
                json!({
                    "error": "invalid_client",
                    "error_description": "AADSTS7000215: Invalid client secret provided. Ensure the \
                        secret being sent in the request is the client secret value",
                })
                .to_string(),
            ),
        ),
        ("a path where nothing takes token requests", Reply::Json(404, "{}".into())),
    ];
    for (mistake, reply) in of_the_provider {
        let place = Place::new().await;
        place.provider.otherwise(reply);
        tell(mistake, place.doctor(&[]));
    }

    let mut place = Place::new().await;
    place.replace(&place.provider.token_endpoint(), "http://127.0.0.1:1/token");
    tell("a wrong host or port of the provider", place.doctor(&[]));

    let mut place = Place::new().await;
    place.replace(&place.provider.token_endpoint(), "http://127.0.0.1:1/token");
    place.upstream_url = "http://127.0.0.1:1".into();
    // A password may stand in it.
    let proxy = format!("http://{CANARY}@proxy.example:3128");
    place.environment = vec![("HTTPS_PROXY".into(), proxy)];
    tell(
        "a proxy of the environment that is not looked at",
        place.doctor(&[]),
    );

    let mut place = Place::new().await;
    place.replace(
        &place.provider.token_endpoint(),
        "https://no-such-host.invalid/token",
    );
    let said = place.doctor(&[]);
    let (before, rest) = said.split_once(" (").unwrap();
    let (_, after) = rest.split_once(')').unwrap();
    tell(
        "a name that the DNS does not know",
        format!("{before} (…){after}"),
    );

    let place = Place::new().await;
    let off = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    place.provider.say_date(off);
    let said = place.doctor(&[]);
    let (before, rest) = said.split_once("clock is ").unwrap();
    let (_, after) = rest.split_once(" ahead of").unwrap();
    tell(
        "a clock that is wrong",
        format!("{before}clock is … ahead of{after}"),
    );

    let authority = Authority::new();
    for (mistake, identity) in [
        ("a certificate that has run out", authority.expired_server()),
        (
            "an authority that has run out",
            authority.server_by_expired_intermediate(),
        ),
        (
            "a certificate of another name",
            authority.server_named("other.example"),
        ),
        (
            "a certificate of an authority that is not trusted",
            Authority::new().server(),
        ),
    ] {
        let mut place = Place::new().await;
        place.ask_over_tls(&authority, &identity).await;
        tell(mistake, place.doctor(&[]));
    }

    let mut place = Place::new().await;
    let plain = format!("https://{}/token", place.upstream.authority());
    place.replace(&place.provider.token_endpoint(), &plain);
    tell(
        "TLS spoken to a port that does not speak it",
        place.doctor(&[]),
    );

    let place = Place::new().await;
    place.provider.otherwise(said_no(401, "invalid_client"));
    place.write("secret", "first line\nsecond line\n");
    tell("a secret with a line break", place.doctor(&[]));

    let mut place = Place::new().await;
    let inline = format!("client_secret = \"{CANARY}\\n\"");
    place.replace("client_secret_file = \"secret\"", &inline);
    tell(
        "a line break in a secret that is written out",
        place.check(),
    );
    tell("the same, to doctor", place.doctor(&[]));

    let place = Place::new().await;
    place.write("secret", &format!("{CANARY} \n"));
    tell("a space behind a secret", place.check());
    for (mistake, before, after) in [
        ("a secret in quotation marks", "\"", "\"\n"),
        ("a secret with its name", "client_secret=", ""),
        ("a secret in JSON", "{\"client_secret\":\"", "\"}"),
    ] {
        place.write("secret", &format!("{before}{CANARY}{after}"));
        tell(mistake, place.check());
    }

    let place = Place::new().await;
    let secret = place.directory.path().join("secret");
    let mode = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(&secret, 0o644);
    mode(place.directory.path(), 0o755);
    tell("a secret that everybody can read", place.check());

    let mut place = Place::new().await;
    place.replace(
        "client_secret_file = \"secret\"",
        "client_secret_file = \"sceret\"",
    );
    tell("a secret's file that is not there", place.check());

    let mut place = Place::new().await;
    place.replace("client_id", "clientid");
    tell("a key that is misspelt", place.check());

    let mut place = Place::new().await;
    place.replace(&place.provider.token_endpoint(), "http://id.example/token");
    tell("http in the place of https", place.check());

    let mut place = Place::new().await;
    let documented = "https://id.example/token?grant_type=client_credentials";
    place.replace(&place.provider.token_endpoint(), documented);
    tell("parameters in the token endpoint", place.check());

    let mut place = Place::new().await;
    place.write("key.pem", &KeyPair::generate().unwrap().serialize_pem());
    let key = "private_key_file = \"key.pem\"\nsigning_algorithm = \"RS256\"";
    place.replace("client_secret_file = \"secret\"", key);
    tell(
        "a key of another kind for the client's statement",
        place.check(),
    );

    let mut place = Place::new().await;
    place.write("key.pem", &KeyPair::generate().unwrap().serialize_pem());
    place.replace(
        "client_secret_file = \"secret\"",
        "private_key_file = \"key.pem\"",
    );
    place.provider.otherwise(Reply::Json(
        401,
        r#"{"error":"invalid_client","error_description":"client assertion signature is wrong"}"#
            .into(),
    ));
    tell("a key that the provider does not know", place.doctor(&[]));

    let mut place = Place::new().await;
    let issuer = format!("http://{}", place.provider.address());
    place.provider.publish(
        "/.well-known/openid-configuration",
        json!({ "issuer": "https://other.example", "token_endpoint": place.provider.token_endpoint() }),
    );
    let endpoint = format!("token_endpoint = \"{}\"", place.provider.token_endpoint());
    place.replace(&endpoint, &format!("issuer = \"{issuer}\""));
    tell("a wrong issuer", place.doctor(&[]));

    let mut place = Place::new().await;
    place
        .credential
        .push_str("\naudience = \"https://api.example\"\nscope = \"read write\"");
    let claims =
        json!({ "iss": "https://id.example", "aud": ["https://other.example"], "scope": "read" });
    place.provider.otherwise(Reply::Words(3600.0, jwt(&claims)));
    tell("a wrong audience", place.doctor(&[]));
    let claims =
        json!({ "iss": "https://id.example", "aud": "https://api.example/", "scope": "read" });
    place.provider.otherwise(Reply::Words(3600.0, jwt(&claims)));
    tell("a scope that was not granted", place.doctor(&[]));

    let mut place = Place::new().await;
    place.upstream_url = "http://127.0.0.1:1".into();
    tell("an upstream that cannot be reached", place.doctor(&[]));

    let mut place = Place::new().await;
    let address = tls_server(&authority.server()).await;
    place.upstream_url = format!("http://{address}");
    place.stands_for(address, "TLS-UPSTREAM");
    tell(
        "an upstream that speaks TLS, called without",
        place.doctor(&["--call"]),
    );

    let place = Place::new().await;
    place.upstream.refuse(Refusal::OfEverything);
    tell(
        "a token that the upstream does not take",
        place.doctor(&["--call"]),
    );

    let mut place = Place::new().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    place.stands_for(address, "TAKEN");
    tell(
        "a port that is taken",
        place.doctor(&["--listen", &address.to_string()]),
    );

    assert!(told.matches("## ").count() >= 20);
    insta::assert_snapshot!(told);
}
