//! The five identity systems that gatepass is made for, each as its documents describe it: tokens
//! come and are renewed, the provider goes away and comes back, and wrong credentials are told in
//! one line.

use std::path::Path;

use crate::support::{AuthorizationServer, CANARY, Gatepass, Load, Reply, Upstream, get};

/// One of the systems.
struct System {
    /// The credential's keys; `SERVER` stands for the provider's address.
    keys: &'static str,
    /// How the provider answers, with tokens that live for two seconds.
    answer: &'static str,
    /// How it says no.
    refusal: (u16, &'static str),
    /// Its own word for that.
    code: &'static str,
    /// What the first and the later token requests hold.
    first: &'static str,
    later: &'static str,
}

const ENVASE: System = System {
    keys: r#"
        preset = "envase"
        environment = "staging"
        token_endpoint = "SERVER/oauth2/token"
        client_id = "tms"
        client_secret = "canary-secret"
        scope = "connectdata/events""#,
    answer: r#"{"access_token":"TOKEN","expires_in":2,"token_type":"Bearer","refresh_token":"REFRESH"}"#,
    refusal: (400, r#"{"error":"invalid_client"}"#),
    code: "invalid_client",
    first: "grant_type=client_credentials&scope=connectdata%2Fevents",
    later: "grant_type=client_credentials&scope=connectdata%2Fevents",
};

const FULFILLMENTTOOLS: System = System {
    keys: r#"
        preset = "fulfillmenttools"
        token_endpoint = "SERVER/v1/accounts:signInWithPassword"
        refresh_endpoint = "SERVER/v1/token"
        username = "tms@example.com"
        password = "canary-password"
        api_key = "canary-api-key""#,
    answer: r#"{"idToken":"TOKEN","refreshToken":"REFRESH","expiresIn":"2","localId":"u1"}"#,
    refusal: (
        400,
        r#"{"error":{"code":400,"message":"INVALID_LOGIN_CREDENTIALS","errors":[]}}"#,
    ),
    code: "INVALID_LOGIN_CREDENTIALS",
    first: r#"{"email":"tms@example.com","password":"canary-password","returnSecureToken":true}"#,
    later: "grant_type=refresh_token&refresh_token=canary-refresh-",
};

const ITC_COMPLIANCE: System = System {
    keys: r#"
        preset = "itc-compliance"
        token_endpoint = "SERVER/oauth/token"
        client_id = "tms"
        client_secret = "canary-secret"
        scope = "legacy:autonomy.write legacy.autonomy.read""#,
    answer: r#"{"token_type":"Bearer","expires_in":"2","access_token":"TOKEN"}"#,
    refusal: (
        401,
        r#"{"error":"invalid_client","error_description":"Client authentication failed"}"#,
    ),
    code: "invalid_client",
    first: r#"{"client_id":"tms","client_secret":"canary-secret","grant_type":"client_credentials","#,
    later: r#"{"client_id":"tms","client_secret":"canary-secret","grant_type":"client_credentials","#,
};

const ITC_COMPLIANCE_USER: System = System {
    keys: r#"
        preset = "itc-compliance"
        token_endpoint = "SERVER/oauth/token"
        client_id = "tms"
        client_secret = "canary-secret"
        username = "clerk"
        password = "canary-password""#,
    answer: r#"{"token_type":"Bearer","expires_in":"2","access_token":"TOKEN","refresh_token":"REFRESH"}"#,
    refusal: (400, r#"{"error":"invalid_grant"}"#),
    code: "invalid_grant",
    first: r#"{"client_id":"tms","client_secret":"canary-secret","grant_type":"password","password":"canary-password","username":"clerk"}"#,
    later: r#"{"client_id":"tms","client_secret":"canary-secret","grant_type":"refresh_token","refresh_token":"canary-refresh-"#,
};

const GDSO: System = System {
    keys: r#"
        preset = "gdso-tis"
        token_endpoint = "SERVER/getIdToken"
        default_lifetime = "2s"
        username = "tms"
        password = "canary-password""#,
    answer: r#""TOKEN""#,
    refusal: (401, r#"{"message":"Unauthorized"}"#),
    code: "401",
    first: "",
    later: "",
};

const MASMOVIL: System = System {
    keys: r#"
        preset = "masmovil"
        token_endpoint = "SERVER/oauth/token"
        client_id = "tms"
        client_secret = "canary-secret"
        username = "clerk"
        password = "canary-password""#,
    answer: r#"{"access_token":"TOKEN","expires_in":2,"refresh_token":"REFRESH","token_type":"bearer"}"#,
    refusal: (
        400,
        r#"{"error":"invalid_grant","error_description":"Bad credentials"}"#,
    ),
    code: "invalid_grant",
    first: "grant_type=password&username=clerk&password=canary-password",
    later: "grant_type=refresh_token&refresh_token=canary-refresh-",
};

impl System {
    fn config(&self, provider: &AuthorizationServer, upstream: &Upstream) -> String {
        let server = format!("http://{}", provider.address());
        let keys = self.keys.replace("SERVER", &server);
        let origin = upstream.origin();
        format!(
            "[credentials.theirs]\n{keys}\n\n[[routes]]\npath = \"/\"\nupstream = \"{origin}\"\n\
             credential = \"theirs\"\n"
        )
    }

    async fn works(&self) {
        let mut provider = AuthorizationServer::start();
        provider.otherwise(Reply::Words(2.0, self.answer.into()));
        let upstream = Upstream::start().await;
        upstream.check_tokens(provider.introspection());
        let gatepass = Gatepass::start(&self.config(&provider, &upstream))
            .ready()
            .await;

        let load = Load::start(gatepass.proxy(), 4);
        provider.wait_for_requests(4).await;
        assert_eq!(load.stop().await, []);
        assert_eq!(upstream.bad_tokens(), Vec::<String>::new());
        let requests = provider.requests();
        assert!(
            requests[0].body.starts_with(self.first),
            "{}",
            requests[0].body
        );
        for later in &requests[1..] {
            assert!(later.body.starts_with(self.later), "{}", later.body);
        }

        provider.go_down().await;
        gatepass.output_with("cannot be reached");
        let before = provider.count();
        provider.come_up();
        provider.wait_for_requests(before + 1).await;
        gatepass.wait_for_probe("/readyz").await;
        assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
        assert_eq!(upstream.bad_tokens(), Vec::<String>::new());
    }

    async fn tells_wrong_credentials_in_one_line(&self) {
        let provider = AuthorizationServer::start();
        let (status, body) = self.refusal;
        provider.otherwise(Reply::Json(status, body.into()));
        let upstream = Upstream::start().await;
        let gatepass = Gatepass::start(&self.config(&provider, &upstream));
        gatepass.wait_for_probe("/startupz").await;
        let ready = get(gatepass.admin(), "/readyz").await.into_body();
        let told: Vec<_> = ready
            .lines()
            .filter(|line| line.contains("theirs"))
            .collect();
        let [line] = told.as_slice() else {
            panic!("one line for the credential, not {ready}");
        };
        let endpoint = format!("token endpoint http://{}/", provider.address());
        for word in ["credential \"theirs\"", &endpoint, self.code, "check "] {
            assert!(line.contains(word), "no {word:?} in {line:?}");
        }
        assert!(!ready.contains(CANARY), "{ready}");
        assert!(provider.count() <= 2, "it is not hammered");
    }
}

macro_rules! systems {
    ($($name:ident: $system:expr;)*) => {$(
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread")]
            async fn works() {
                $system.works().await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn tells_wrong_credentials_in_one_line() {
                $system.tells_wrong_credentials_in_one_line().await;
            }
        }
    )*};
}

systems! {
    envase: ENVASE;
    fulfillmenttools: FULFILLMENTTOOLS;
    itc_compliance: ITC_COMPLIANCE;
    itc_compliance_user: ITC_COMPLIANCE_USER;
    gdso: GDSO;
    masmovil: MASMOVIL;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_speaks_as_its_documents_say() {
    let first_request = async |system: &System| {
        let provider = AuthorizationServer::start();
        provider.otherwise(Reply::Words(60.0, system.answer.into()));
        let upstream = Upstream::start().await;
        let _gatepass = Gatepass::start(&system.config(&provider, &upstream))
            .ready()
            .await;
        provider.requests().remove(0)
    };
    let basic = "Basic dG1zOmNhbmFyeS1zZWNyZXQ="; // tms:canary-secret
    let envase = first_request(&ENVASE).await;
    assert_eq!(envase.header("authorization").as_deref(), Some(basic));
    let masmovil = first_request(&MASMOVIL).await;
    assert_eq!(masmovil.header("authorization").as_deref(), Some(basic));
    let odd = MASMOVIL.keys.replace("canary-secret", "canary+s3cret/%");
    let odd = System {
        keys: odd.leak(),
        ..MASMOVIL
    };
    let odd = first_request(&odd).await;
    let as_it_is = "Basic dG1zOmNhbmFyeStzM2NyZXQvJQ=="; // tms:canary+s3cret/%
    assert_eq!(odd.header("authorization").as_deref(), Some(as_it_is));
    let fulfillmenttools = first_request(&FULFILLMENTTOOLS).await;
    let line = "POST /v1/accounts:signInWithPassword?key=canary-api-key HTTP/1.1\r\n";
    assert!(
        fulfillmenttools.head.starts_with(line),
        "{}",
        fulfillmenttools.head
    );
    assert_eq!(fulfillmenttools.header("authorization"), None);
    let itc = first_request(&ITC_COMPLIANCE).await;
    assert_eq!(
        itc.header("accept").as_deref(),
        Some("application/json; version=2")
    );
    assert_eq!(
        itc.header("content-type").as_deref(),
        Some("application/json")
    );
    let gdso = first_request(&GDSO).await;
    let basic = "Basic dG1zOmNhbmFyeS1wYXNzd29yZA=="; // tms:canary-password
    assert_eq!(gdso.header("authorization").as_deref(), Some(basic));
    assert_eq!(gdso.header("content-type"), None);
    assert_eq!(gdso.header("content-length").as_deref(), Some("0"));
}

/// A GDSO token in each of the shapes that its document leaves open.
#[tokio::test(flavor = "multi_thread")]
async fn gdso_tokens_are_found_in_every_shape() {
    for answer in [
        r#"{"id_token":"TOKEN"}"#,
        r#"{"idToken":"TOKEN"}"#,
        r#"{"token":"TOKEN"}"#,
        r#""TOKEN""#,
        "TOKEN",
    ] {
        let provider = AuthorizationServer::start();
        provider.otherwise(Reply::Words(60.0, answer.into()));
        let upstream = Upstream::start().await;
        upstream.check_tokens(provider.introspection());
        let gatepass = Gatepass::start(&GDSO.config(&provider, &upstream))
            .ready()
            .await;
        assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
        assert_eq!(upstream.bad_tokens(), Vec::<String>::new());
    }
}

/// As what stands in front of the provider says it, with status 200, when that is out of order.
#[tokio::test(flavor = "multi_thread")]
async fn no_word_is_sent_in_the_place_of_a_good_token() {
    let provider = AuthorizationServer::start();
    provider.otherwise(Reply::Words(60.0, GDSO.answer.into()));
    let upstream = Upstream::start().await;
    upstream.check_tokens(provider.introspection());
    let config = GDSO
        .config(&provider, &upstream)
        .replace("\"2s\"", "\"60s\"");
    let gatepass = Gatepass::start(&config).ready().await;
    provider.otherwise(Reply::Json(200, "Unauthorized".into()));
    gatepass.order_refresh("theirs").await;
    let refused = r#"gatepass_token_refreshes_total{credential="theirs",outcome="refused"}"#;
    gatepass.wait_for_metric(refused, 1.0).await;
    assert_eq!(get(gatepass.proxy(), "/").await.status(), 200);
    assert_eq!(upstream.bad_tokens(), Vec::<String>::new());
}

/// One token for many manufacturers, and public data without any.
#[tokio::test(flavor = "multi_thread")]
async fn routes_share_a_credential_and_public_data_needs_none() {
    let provider = AuthorizationServer::start();
    provider.otherwise(Reply::Words(60.0, GDSO.answer.into()));
    let upstream = Upstream::start().await;
    let origin = upstream.origin();
    let route = |path: &str, credential: &str| {
        format!(
            "[[routes]]\npath = \"{path}\"\nupstream = \"{origin}\"\ncredential = \"{credential}\"\n"
        )
    };
    let config = GDSO.config(&provider, &upstream)
        + &route("/one", "theirs")
        + &route("/two", "theirs")
        + &route("/public", "none");
    let gatepass = Gatepass::start(&config).ready().await;
    for (path, authorizations) in [("/one", 1), ("/two", 1), ("/public", 0)] {
        get(gatepass.proxy(), path).await;
        assert_eq!(
            upstream.last().all("authorization").len(),
            authorizations,
            "{path}"
        );
    }
    assert_eq!(provider.count(), 1);
}

/// The example that stands for each system.
#[test]
fn each_has_an_example() {
    for name in [
        "envase",
        "fulfillmenttools",
        "itc-compliance",
        "gdso-tis",
        "masmovil",
    ] {
        let example = format!("deploy/examples/{name}.toml");
        let path = crate::support::gatepass::project().join(example);
        assert!(Path::new(&path).exists(), "{name}");
    }
}
