//! What is sent to the token endpoint.

use std::fmt;

use form_urlencoded::Serializer;
use http::HeaderValue;
use secrecy::SecretString;

use super::Settings;

/// A token request, ready to be sent.
pub struct TokenRequest {
    /// The value of the `Authorization` field, if the client proves itself that way.
    pub authorization: Option<HeaderValue>,
    /// The form parameters, encoded.
    pub body: String,
    /// Strings that must not be shown even if the provider's answer repeats them.
    pub confidential: Vec<String>,
}

impl TokenRequest {
    pub(super) fn parameter(&mut self, name: &str, value: &str) {
        let body = std::mem::take(&mut self.body);
        let length = body.len();
        self.body = Serializer::for_suffix(body, length.min(1))
            .append_pair(name, value)
            .finish();
    }
}

/// Shows nothing: what there is to see is secret.
impl fmt::Debug for TokenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenRequest").finish_non_exhaustive()
    }
}

/// The request of the client credentials grant (RFC 6749 §4.4.2).
///
/// Parameters that have no value are left out: some providers refuse an empty `scope`.
pub fn client_credentials(settings: &Settings, secret: &SecretString) -> TokenRequest {
    let mut request = TokenRequest {
        authorization: None,
        body: String::new(),
        confidential: Vec::new(),
    };
    request.parameter("grant_type", "client_credentials");
    if let Some(scope) = &settings.scope {
        request.parameter("scope", scope);
    }
    if let Some(audience) = &settings.audience {
        request.parameter("audience", audience);
    }
    settings
        .client_authentication
        .prove(&mut request, &settings.client_id, secret);
    request
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::oauth::{ClientAuthentication, Secret};
    use crate::tls;
    use crate::token::RefusalSettings;

    fn with(authentication: ClientAuthentication, scope: Option<&str>) -> TokenRequest {
        let secret = SecretString::from("p+q %/=&");
        let settings = Settings {
            credential: "envase".into(),
            token_endpoint: "https://id.example/token".parse().unwrap(),
            client_id: "the app".into(),
            client_secret: Secret::Value(secret.clone()),
            client_authentication: authentication,
            scope: scope.map(Into::into),
            audience: scope.map(|_| "https://api.example/v1".into()),
            default_lifetime: Duration::from_secs(300),
            timeout: Duration::from_secs(10),
            refusals: RefusalSettings::default(),
            tls: tls::client_config(&tls::Trust::Platform).unwrap(),
        };
        client_credentials(&settings, &secret)
    }

    #[test]
    fn every_option_at_once_by_basic() {
        let request = with(ClientAuthentication::SecretBasic, Some("a/b c:d"));
        insta::assert_snapshot!(request.body, @"grant_type=client_credentials&scope=a%2Fb+c%3Ad&audience=https%3A%2F%2Fapi.example%2Fv1");
        let header = request.authorization.unwrap();
        insta::assert_snapshot!(header.to_str().unwrap(), @"Basic dGhlK2FwcDpwJTJCcSslMjUlMkYlM0QlMjY=");
        assert!(header.is_sensitive());
    }

    #[test]
    fn every_option_at_once_by_post() {
        let request = with(ClientAuthentication::SecretPost, Some("a/b c:d"));
        insta::assert_snapshot!(request.body, @"grant_type=client_credentials&scope=a%2Fb+c%3Ad&audience=https%3A%2F%2Fapi.example%2Fv1&client_id=the+app&client_secret=p%2Bq+%25%2F%3D%26");
        assert_eq!(request.authorization, None, "one method only");
    }

    #[test]
    fn what_is_not_set_is_not_sent() {
        let request = with(ClientAuthentication::SecretBasic, None);
        assert_eq!(request.body, "grant_type=client_credentials");
    }
}
