//! What a provider says when it says no, whose fault that is, and what to do about it.

use secrecy::SecretString;
use serde_json::{Map, Value};

use super::grant::Grant;
use super::token_response::{clean, describe, is_page, where_to_look};
use super::transport::Answer;
use crate::token::source::{FailureKind, FetchError};
use crate::wording::Confidential;

/// A provider's no.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The failure, for whoever asked.
    pub(super) error: FetchError,
    /// Whether it says that what was shown (a password, a refresh token, an assertion) is good no
    /// longer. Everything else may pass: a refresh token that is given up for it is lost, and one
    /// that was used before ends the session with providers that look for reuse.
    pub(super) of_the_grant: bool,
    /// Whether it says that the client is not who it claims to be. Nobody has looked at what was shown.
    pub(super) of_the_client: bool,
    /// A refresh token that came with it nevertheless.
    pub(super) refresh_token: Option<SecretString>,
}

impl Refusal {
    pub(super) fn new(error: FetchError) -> Self {
        Self {
            error,
            of_the_grant: false,
            of_the_client: false,
            refresh_token: None,
        }
    }
}

/// The provider's own word for what is wrong, and what it adds to it.
pub(super) struct Said {
    code: String,
    description: Option<String>,
}

/// Looks for a no in an answer. Some providers send it with status 200, so that is not asked.
///
/// Either as RFC 6749 §5.2 has it, or Google's own: `{"error":{"code":400,"message":"CODE : more"}}`, or that of
/// AWS: `{"__type":"CODE","message":"more"}`.
pub(super) fn said(json: &Map<String, Value>, confidential: &Confidential) -> Option<Said> {
    match json.get("error") {
        Some(Value::Object(google)) => {
            let text = |name| text(google, name, confidential);
            let message = text("message").or_else(|| text("status"))?;
            Some(match message.split_once(" : ") {
                Some((code, more)) => Said {
                    code: code.to_owned(),
                    description: Some(more.to_owned()),
                },
                None => Said {
                    code: message,
                    description: None,
                },
            })
        }
        Some(_) => {
            let code = text(json, "error", confidential)?;
            // The league of PHP puts what is really wrong into a hint.
            let hint = text(json, "hint", confidential);
            let told = explanation(json, confidential).filter(|told| *told != code);
            let description = match (told, hint) {
                (Some(told), Some(hint)) => Some(format!("{told}: {hint}")),
                (told, hint) => told.or(hint),
            };
            Some(Said { code, description })
        }
        None => {
            let kind = text(json, "__type", confidential)?;
            let code = kind.rsplit('#').next().unwrap_or_default().to_owned();
            let description = explanation(json, confidential);
            Some(Said { code, description })
        }
    }
}

/// What a server says to people, beside a code or without one.
pub(super) fn explanation(
    json: &Map<String, Value>,
    confidential: &Confidential,
) -> Option<String> {
    EXPLANATIONS
        .iter()
        .find_map(|name| text(json, name, confidential))
}

fn text(json: &Map<String, Value>, name: &str, confidential: &Confidential) -> Option<String> {
    let text = clean(json.get(name)?.as_str()?, confidential);
    Some(text).filter(|text| !text.is_empty())
}

/// By RFC 6749 §5.2, by Spring, Laravel and AWS, by RFC 9457.
const EXPLANATIONS: [&str; 6] = [
    "error_description",
    "message",
    "Message",
    "errorMessage",
    "detail",
    "title",
];

impl Said {
    pub(super) fn judge(self, status: u16, grant: &Grant) -> Refusal {
        let Self { code, description } = self;
        let (kind, advice) = judge(&code, status, grant);
        let advice = known(&code, description.as_deref()).unwrap_or(advice);
        let names_the_token = |said: &str| code == "invalid_request" && said.contains(OVER);
        let is_over = description.as_deref().is_some_and(names_the_token);
        let said = description.map_or_else(String::new, |said| format!(" (\"{said}\")"));
        Refusal {
            of_the_grant: is_over || ENDS_A_SESSION.contains(&code.as_str()),
            of_the_client: is_of_the_client(&code, status),
            ..Refusal::new(
                kind.because(format!("answered {status} {code}{said}"))
                    .advise(advice),
            )
        }
    }
}

/// RFC 6749 §5.2: "invalid_grant: The provided authorization grant […] or refresh token is invalid,
/// expired, revoked […]". Some servers of the Spring family say `invalid_token`, Hydra `token_inactive`, others the
/// `login_required` of OpenID Connect; the rest is Google's.
const ENDS_A_SESSION: [&str; 8] = [
    "invalid_grant",
    "invalid_token",
    "token_inactive",
    "login_required",
    "INVALID_REFRESH_TOKEN",
    "TOKEN_EXPIRED",
    "USER_DISABLED",
    "USER_NOT_FOUND",
];

/// What league/oauth2-server, and so Laravel Passport, says of such a refresh token beside `invalid_request`.
const OVER: &str = "The refresh token is invalid";

/// RFC 6749 §5.2: "invalid_client: Client authentication failed […]. The authorization server MAY return an HTTP
/// 401 (Unauthorized) status code". Keycloak says `unauthorized_client` with that status.
fn is_of_the_client(code: &str, status: u16) -> bool {
    code == "invalid_client" || (code == "unauthorized_client" && status == 401)
}

/// Whose fault an error code is, and what to do about it.
fn judge(code: &str, status: u16, grant: &Grant) -> (FailureKind, &'static str) {
    use FailureKind::{Refused, Throttled, Unavailable};
    match code {
        _ if is_of_the_client(code, status) => (Refused, CHECK_CLIENT),
        // Of Spring, where nobody has looked at the grant yet. It may stand for more than the client.
        "unauthorized" | "Unauthorized" if grant.is_oauth() => (Refused, CHECK_CLIENT),
        "invalid_grant" => (Refused, grant.advice()),
        "unauthorized_client" | "unsupported_grant_type" => (
            Refused,
            "have the provider allow this grant_type for this client",
        ),
        "invalid_scope" => (Refused, "check scope against what the client may have"),
        "invalid_target" => (Refused, "check audience and resource"),
        "slow_down" => (Throttled, SLOWER),
        "temporarily_unavailable" | "server_error" => (Unavailable, SEE_PROVIDER),
        // Google's own. https://cloud.google.com/identity-platform/docs/error-codes
        "USER_DISABLED" => (Refused, "have the user enabled, or use another"),
        "TOKEN_EXPIRED" | "INVALID_REFRESH_TOKEN" | "USER_NOT_FOUND" => {
            (Refused, "gatepass signs in again")
        }
        _ if code.starts_with("TOO_MANY_ATTEMPTS") || code == "QUOTA_EXCEEDED" => {
            (Throttled, SLOWER)
        }
        // Of AWS, with status 400.
        "TooManyRequestsException" | "LimitExceededException" | "ThrottlingException" => {
            (Throttled, SLOWER)
        }
        _ if status == 429 => (Throttled, SLOWER),
        _ if matches!(status, 404 | 405 | 410) => (FailureKind::Misconfigured, NOTHING_THERE),
        _ if status >= 500 => (Unavailable, SEE_PROVIDER),
        _ => (Refused, grant.advice()),
    }
}

/// An answer that is no success and names no error.
pub(super) fn without_reason(
    status: u16,
    answer: &Answer,
    fields: Option<&Map<String, Value>>,
    confidential: &Confidential,
    grant: &Grant,
) -> Refusal {
    let (kind, advice) = match status {
        400 if wants_tls(answer) => (FailureKind::Misconfigured, WANTS_TLS),
        300..=399 => (FailureKind::Misconfigured, NO_REDIRECT),
        // No token endpoint says no by a page: a firewall does, or what else stands in front of it.
        400..=403 if is_page(answer) => (FailureKind::Refused, where_to_look(answer)),
        401 | 403 if grant.is_oauth() => (FailureKind::Refused, CHECK_CLIENT),
        401 | 403 => (FailureKind::Refused, grant.advice()),
        404 | 405 | 410 => (FailureKind::Misconfigured, NOTHING_THERE),
        // It takes no POST, as a server of mere files says.
        501 => (FailureKind::Unavailable, NOTHING_THERE),
        408 | 500.. => (FailureKind::Unavailable, SEE_PROVIDER),
        429 => (FailureKind::Throttled, SLOWER),
        _ => (
            FailureKind::Refused,
            "check token_endpoint, scope and audience",
        ),
    };
    let explanation = fields.and_then(|fields| explanation(fields, confidential));
    let advice = known("", explanation.as_deref()).unwrap_or(advice);
    let said = explanation.map_or_else(String::new, |said| format!(" (\"{said}\")"));
    let message = format!(
        "answered {status} with {}{said}",
        describe(answer, confidential)
    );
    Refusal::new(kind.because(message).advise(advice))
}

/// Whether it is what a server says to plain HTTP on its port for TLS.
fn wants_tls(answer: &Answer) -> bool {
    let said = String::from_utf8_lossy(&answer.body);
    SAID_TO_PLAIN_HTTP.iter().any(|words| said.contains(words))
}

/// By nginx, Apache, Go and Tomcat.
const SAID_TO_PLAIN_HTTP: [&str; 4] = [
    "plain HTTP request was sent to HTTPS port",
    "speaking plain HTTP to an SSL-enabled server port",
    "sent an HTTP request to an HTTPS server",
    "combination of host and port requires TLS",
];
const WANTS_TLS: &str = "write https:// in token_endpoint: it speaks TLS there";

/// What to do about errors that providers explain in words of their own, where those tell more than
/// the code.
fn known(code: &str, description: Option<&str>) -> Option<&'static str> {
    let description = description.unwrap_or_default();
    let said = |words| code.contains(words) || description.contains(words);
    let found = KNOWN.iter().find(|(words, _)| said(*words));
    found.map(|(_, advice)| *advice)
}

/// Of Entra, Google, Auth0, Keycloak, Salesforce, AWS and Spring.
const KNOWN: [(&str, &str); 19] = [
    (
        "AADSTS7000215",
        "make a new secret: this one is its ID, and Entra shows the value only once",
    ),
    (
        "AADSTS7000222",
        "make a new secret in Entra: this one has run out",
    ),
    (
        "AADSTS700016",
        "check client_id and tenant: this directory does not know the application",
    ),
    (
        "AADSTS90002",
        "check tenant: Entra does not know the directory",
    ),
    (
        "AADSTS500011",
        "check scope: this directory does not know the API that it names",
    ),
    (
        "AADSTS1002012",
        "check scope: Entra wants API/.default for applications",
    ),
    (
        "AADSTS70011",
        "check scope: Entra wants API/.default for applications",
    ),
    (
        "AADSTS700027",
        "check private_key_file and private_key_id: Entra does not know the certificate",
    ),
    (
        "Token must be a short-lived token",
        "check this machine's clock: Google takes the statement for too old or too young",
    ),
    (
        "Invalid JWT Signature",
        "check service_account_file: Google does not know the key, or not any more",
    ),
    (
        "Client is not authorized to access",
        "check audience, and have Auth0 authorize the application for that API",
    ),
    (
        "Client not enabled to retrieve service account",
        "switch on the client's service account in Keycloak",
    ),
    (
        "no client credentials user enabled",
        "have Salesforce enable the client credentials flow and name its user",
    ),
    (
        "API key not valid",
        "check api_key: Google does not know it",
    ),
    (
        "PASSWORD_LOGIN_DISABLED",
        "have sign-in by password switched on in the Google project",
    ),
    (
        "are blocked.",
        "have the API key's restrictions changed: it is for pages, apps or APIs of another kind",
    ),
    (
        "Missing Authentication Token",
        "check token_endpoint: so AWS's API Gateway says that there is nothing at this path",
    ),
    (
        "Password attempts exceeded",
        "check the password, and wait a while: Cognito holds this user back",
    ),
    (
        "account is locked",
        "check the password, and have the user unlocked",
    ),
];

const CHECK_CLIENT: &str = "check client_id, the client's secret or key, and \
                            token_endpoint_auth_method";
const NO_REDIRECT: &str = "write the final address into token_endpoint; a redirect is not followed, \
                           because it would hand the client secret to another place";
const NOTHING_THERE: &str = "check token_endpoint: nothing takes token requests there";
// They are said by a command that asks once as well as by a gatepass that goes on asking.
pub(super) const SLOWER: &str = "see what else asks with this client, and wait a while";
pub(super) const SEE_PROVIDER: &str = "see whether the provider is up";
