//! The providers that are known by name, each with the page that says so.

use super::super::super::decode::{Path, Report};
use super::super::super::raw::Credential;
use super::super::super::scalar::{OneOrMany, SecretSource, Span};
use super::{Need, Preset};

pub(super) const PRESETS: [Preset; 13] = [
    // https://auth0.com/docs/get-started/authentication-and-authorization-flow/client-credentials-flow
    Preset {
        name: "auth0",
        needs: &[Need::new(
            "domain",
            "the tenant's domain, such as \"acme.eu.auth0.com\"",
        )],
        token_endpoint: "https://{domain}/oauth/token",
        fill: fill_auth0,
        check: |raw, path, report| {
            if is_for_itself(raw) && raw.audience.as_ref().is_none_or(String::is_empty) {
                let expected = "the identifier of the API, without which Auth0 hands out no token";
                report.add(&path.key("audience"), "nothing", expected);
            }
        },
    },
    // https://docs.aws.amazon.com/cognito/latest/developerguide/token-endpoint.html
    Preset {
        name: "cognito",
        needs: &[Need::new(
            "domain",
            "the user pool's domain, such as \"acme.auth.eu-west-1.amazoncognito.com\"",
        )],
        token_endpoint: "https://{domain}/oauth2/token",
        ..PLAIN
    },
    // https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
    Preset {
        name: "entra",
        needs: &[Need::new("tenant", "the directory's identifier or domain")],
        token_endpoint: "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token",
        fill: |raw| authenticate(raw, "client_secret_post"),
        check: check_entra,
    },
    Preset {
        name: "envase",
        needs: &[Need {
            // One Cognito user pool for each environment.
            words: &[
                ("development", "envase-dev"),
                ("staging", "envase-stg"),
                ("production", "envase"),
            ],
            ..Need::new("environment", "one of development, staging, production")
        }],
        token_endpoint: "https://{environment}.auth.us-east-1.amazoncognito.com/oauth2/token",
        ..PLAIN
    },
    // The users of fulfillmenttools are those of a project of Google Identity Toolkit.
    Preset {
        name: "fulfillmenttools",
        ..IDENTITY_TOOLKIT
    },
    Preset {
        name: "gdso-tis",
        needs: &[Need::new(
            "domain",
            "the host of the authentication API, such as \"authentication-api.testing.gdso.org\"",
        )],
        token_endpoint: "https://{domain}/getIdToken",
        fill: |raw| {
            raw.grant_type.get_or_insert_with(|| "http_basic".into());
        },
        ..PLAIN
    },
    Preset {
        name: "google-identity-toolkit",
        ..IDENTITY_TOOLKIT
    },
    // https://developers.google.com/identity/protocols/oauth2/service-account
    Preset {
        name: "google-service-account",
        needs: &[],
        token_endpoint: "https://oauth2.googleapis.com/token",
        fill: |raw| {
            raw.grant_type.get_or_insert_with(|| "jwt_bearer".into());
            if raw.assertion_claims.contains_key("target_audience") {
                let field = || OneOrMany(vec!["id_token".into()]);
                raw.token_field.get_or_insert_with(field);
            }
        },
        check: |raw, path, report| {
            let is_for_one_audience = raw.assertion_claims.contains_key("target_audience");
            if raw.scope.is_none() && !is_for_one_audience {
                let expected = "the API's scope, such as \
                                \"https://www.googleapis.com/auth/cloud-platform\"";
                report.add(&path.key("scope"), "nothing", expected);
            }
        },
    },
    Preset {
        name: "itc-compliance",
        needs: &[Need::new(
            "domain",
            "the host of compliance-auth, such as \"auth.example\"",
        )],
        token_endpoint: "https://{domain}/oauth/token",
        fill: fill_itc_compliance,
        ..PLAIN
    },
    // https://www.keycloak.org/securing-apps/oidc-layers
    Preset {
        name: "keycloak",
        needs: &[
            Need::new("domain", "the server's host, such as \"id.example\""),
            Need::new("realm", "the realm's name"),
        ],
        token_endpoint: "https://{domain}/realms/{realm}/protocol/openid-connect/token",
        ..PLAIN
    },
    Preset {
        name: "masmovil",
        needs: &[Need::new(
            "domain",
            "the host of Authn, such as \"authn.example\"",
        )],
        token_endpoint: "https://{domain}/oauth/token",
        fill: |raw| {
            raw.grant_type.get_or_insert_with(|| "password".into());
            // Authn's own words: "Basic base64(client_id:client_secret)". What RFC 6749 §2.3.1 has encoded, servers
            // of Spring do not decode: a secret with a `+` would be refused.
            let method = &mut raw.token_endpoint_auth_method;
            method.get_or_insert_with(|| "client_secret_basic_raw".into());
        },
        ..PLAIN
    },
    // https://developer.okta.com/docs/guides/implement-grant-type/clientcreds/main/
    Preset {
        name: "okta",
        needs: &[
            Need::new(
                "domain",
                "the organisation's host, such as \"acme.okta.com\"",
            ),
            Need {
                default: Some("default"),
                ..Need::new(
                    "authorization_server",
                    "the custom authorization server's name",
                )
            },
        ],
        token_endpoint: "https://{domain}/oauth2/{authorization_server}/v1/token",
        check: |raw, path, report| {
            if raw.scope.is_none() {
                let expected = "a custom scope, without which Okta grants a service nothing";
                report.add(&path.key("scope"), "nothing", expected);
            }
        },
        ..PLAIN
    },
    // https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_client_credentials_flow.htm
    Preset {
        name: "salesforce",
        needs: &[Need::new(
            "domain",
            "the host of your organisation, such as \"acme.my.salesforce.com\"",
        )],
        token_endpoint: "https://{domain}/services/oauth2/token",
        fill: fill_salesforce,
        check: check_salesforce,
    },
];

/// https://cloud.google.com/identity-platform/docs/use-rest-api
const IDENTITY_TOOLKIT: Preset = Preset {
    token_endpoint: "https://identitytoolkit.googleapis.com/v1/accounts:signInWithPassword",
    fill: |raw| {
        raw.grant_type
            .get_or_insert_with(|| "identity_toolkit".into());
    },
    ..PLAIN
};

/// What most of them have.
const PLAIN: Preset = Preset {
    name: "",
    needs: &[],
    token_endpoint: "",
    fill: |_| {},
    check: |_, _, _| {},
};

/// How the client sends its secret, if it has one.
fn authenticate(raw: &mut Credential, method: &str) {
    let has_secret = raw.client_secret.is_some()
        || raw.client_secret_file.is_some()
        || raw.client_secret_env.is_some();
    if has_secret {
        let written = &mut raw.token_endpoint_auth_method;
        written.get_or_insert_with(|| method.into());
    }
}

/// Whether the application asks for itself.
fn is_for_itself(raw: &Credential) -> bool {
    let grant_type = raw.grant_type.as_deref();
    grant_type.is_none_or(|grant_type| grant_type == "client_credentials")
}

/// Auth0 wants the tenant as the audience of a client's statement.
/// https://auth0.com/docs/get-started/authentication-and-authorization-flow/authenticate-with-private-key-jwt
fn fill_auth0(raw: &mut Credential) {
    authenticate(raw, "client_secret_post");
    if raw.private_key_file.is_some()
        && let Some(domain) = &raw.domain
    {
        let tenant = format!("https://{domain}/");
        raw.assertion_audience.get_or_insert(tenant);
    }
}

/// The structure of the token is chosen by the version in `Accept`.
fn fill_itc_compliance(raw: &mut Credential) {
    authenticate(raw, "client_secret_post");
    if raw.username.is_some() {
        raw.grant_type.get_or_insert_with(|| "password".into());
    }
    raw.body_format.get_or_insert_with(|| "json".into());
    let is_accept = |name: &String| name.eq_ignore_ascii_case("accept");
    if !raw.headers.keys().any(is_accept) {
        let version = SecretSource::Value("application/json; version=2".into());
        raw.headers.insert("accept".into(), version);
    }
}

/// An answer does not say how long its token lives; fifteen minutes is the least that an
/// organisation can choose for a session.
fn fill_salesforce(raw: &mut Credential) {
    let least = Span(std::time::Duration::from_secs(15 * 60));
    raw.default_lifetime.get_or_insert(least);
    if raw.private_key_file.is_some() {
        raw.grant_type.get_or_insert_with(|| "jwt_bearer".into());
        let domain = raw.domain.as_deref().unwrap_or_default();
        let audience = match domain == "test.salesforce.com" || domain.contains(".sandbox.") {
            true => "https://test.salesforce.com",
            false => "https://login.salesforce.com",
        };
        raw.assertion_audience
            .get_or_insert_with(|| audience.into());
    }
}

fn check_salesforce(raw: &Credential, path: &Path, report: &mut Report) {
    let signs = raw.private_key_file.is_some();
    if signs && raw.assertion_subject.is_none() {
        let expected = "the name of the user on whose behalf the application acts";
        report.add(&path.key("assertion_subject"), "nothing", expected);
    }
    let shared = ["login.salesforce.com", "test.salesforce.com"];
    if let Some(domain) = raw.domain.as_deref()
        && shared.contains(&domain)
        && !signs
    {
        report.add(
            &path.key("domain"),
            format!("{domain:?}, where Salesforce grants no client credentials"),
            "the host of your organisation, such as \"acme.my.salesforce.com\"",
        );
    }
}

fn check_entra(raw: &Credential, path: &Path, report: &mut Report) {
    if raw.private_key_file.is_some() {
        // Its header must hold the certificate's thumbprint (`x5t#S256`).
        report.add(
            &path.key("private_key_file"),
            "a key without its certificate, whose statements Entra does not take",
            "client_assertion_file (workload identity) or client_secret_file",
        );
    }
    if !is_for_itself(raw) {
        return;
    }
    let key = path.key("scope");
    let Some(scope) = &raw.scope else {
        let expected = "the API's scope, such as \"api://orders/.default\"";
        report.add(&key, "nothing", expected);
        return;
    };
    let mut scopes = scope.0.iter().flat_map(|text| text.split_whitespace());
    if let Some(scope) = scopes.find(|scope| !scope.ends_with("/.default")) {
        let expected = format!("\"{scope}/.default\", the only form that Entra grants to services");
        report.add(&key, format!("{scope:?}"), expected);
    }
}
