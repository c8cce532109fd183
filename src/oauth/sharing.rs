//! Which credentials are the same, so that one's token is another's as well.

use std::rc::Rc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::{
    AnswerSettings, Assertion, EndpointSettings, Grant, KeySource, Origin, ProviderSettings,
    Secret, Settings, TokenLocation,
};
use crate::store::{Entry, StoreMetrics, Stores};

/// What a credential has in the store that it names, if it names one that is there. Those that are the
/// same have the same.
pub(super) fn entry(
    settings: &Settings,
    stores: &Stores,
    metrics: StoreMetrics,
) -> Option<Rc<Entry>> {
    let Origin::Provider(provider) = &settings.origin else {
        return None;
    };
    let identity = identity(provider, &settings.answer, &settings.scheme);
    let credential = settings.credential.clone();
    stores.entry(settings.store.as_ref()?, credential, &identity, metrics)
}

/// Tells credentials apart by all that decides what their tokens are good for, and how they are
/// checked. What only proves who the client is (its secret, its key, a password) is no part of it,
/// so that it can be replaced on one replica after the other. It is a digest and holds no secret.
fn identity(provider: &ProviderSettings, answer: &AnswerSettings, scheme: &str) -> String {
    let endpoint = match &provider.endpoint {
        EndpointSettings::At(url) => json!(["at", url.as_str()]),
        EndpointSettings::OfIssuer(url) => json!(["of", url.as_str()]),
    };
    let request = &provider.request;
    let named = |(name, secret): (&str, &Secret)| json!([name, value(secret)]);
    let parameters = request.parameters.iter();
    let parameters: Vec<_> = parameters.map(|(name, of)| named((name, of))).collect();
    let headers = request.headers.iter();
    let headers: Vec<_> = headers
        .map(|(name, of)| named((name.as_str(), of)))
        .collect();
    let verification = provider.verification.as_ref().map(|verification| {
        let key_set = verification.key_set.as_ref().map(url::Url::as_str);
        json!([key_set, verification.issuer, verification.audience])
    });
    let places: Vec<_> = answer.token.iter().map(place).collect();
    let whole = json!([
        endpoint,
        provider.client_id,
        provider.client_authentication.name(),
        provider.grant.name(),
        provider.grant.user(),
        on_whose_behalf(&provider.grant),
        request.scope,
        request.audience,
        request.resource,
        parameters,
        headers,
        verification,
        places,
        answer.token_type,
        scheme,
    ]);
    digest_of(&whole)
}

/// Of parts, which JSON keeps apart, whatever they are made of.
pub(super) fn digest_of(parts: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, parts.to_string().as_bytes()))
}

fn on_whose_behalf(grant: &Grant) -> Value {
    let Grant::JwtBearer(Assertion::Signed(of)) = grant else {
        return Value::Null;
    };
    // The account stands in the file.
    let account = match &of.key.key {
        KeySource::ServiceAccount(file) => value(file),
        KeySource::Pem(_) => Value::Null,
    };
    json!([account, of.issuer, of.subject, of.audience, of.claims])
}

fn value(secret: &Secret) -> Value {
    match secret {
        Secret::Value(value) => json!(value.expose_secret()),
        Secret::File(path, _) => json!([path]),
    }
}

fn place(location: &TokenLocation) -> &str {
    match location {
        TokenLocation::WholeBody => ".",
        TokenLocation::Json(pointer) => pointer,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use http::HeaderName;

    use super::*;
    use crate::oauth::{
        ClientAuthentication, RequestSettings, TransportSettings, VerificationSettings,
    };

    fn provider() -> ProviderSettings {
        ProviderSettings {
            endpoint: EndpointSettings::At("https://id.example/token".parse().unwrap()),
            grant: Grant::ClientCredentials,
            client_id: Some("tms".into()),
            client_authentication: ClientAuthentication::SecretBasic(secret("s3cret")),
            previous_client_secret: None,
            request: RequestSettings::default(),
            session_file: None,
            verification: None,
            transport: TransportSettings::trusting_nobody(Duration::from_secs(10)),
        }
    }

    fn secret(value: &str) -> Secret {
        Secret::Value(value.into())
    }

    fn identity_with(change: impl FnOnce(&mut ProviderSettings)) -> String {
        let answer = AnswerSettings {
            token: vec![TokenLocation::default()],
            token_type: None,
            default_lifetime: Duration::from_secs(300),
        };
        let mut provider = provider();
        change(&mut provider);
        identity(&provider, &answer, "Bearer")
    }

    #[test]
    fn only_those_that_get_and_check_the_same_share() {
        let unchanged = identity_with(|_| {});
        let verified = VerificationSettings {
            key_set: None,
            issuer: Some("https://id.example".into()),
            audience: Vec::new(),
        };
        let header = HeaderName::from_static("x-tenant");
        let all = [
            unchanged.clone(),
            identity_with(|of| of.client_id = Some("another".into())),
            identity_with(|of| {
                of.client_authentication = ClientAuthentication::SecretPost(secret("s3cret"));
            }),
            identity_with(|of| {
                of.endpoint =
                    EndpointSettings::OfIssuer("https://id.example/token".parse().unwrap());
            }),
            identity_with(|of| of.request.scope = Some("a".into())),
            identity_with(|of| of.request.audience = Some("a".into())),
            identity_with(|of| of.request.resource = vec!["a".into()]),
            identity_with(|of| of.request.parameters = vec![("a".into(), secret("b"))]),
            identity_with(|of| of.request.headers = vec![(header, secret("b"))]),
            identity_with(|of| of.verification = Some(verified)),
        ];
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        let same = identity_with(|of| {
            of.client_authentication = ClientAuthentication::SecretBasic(secret("new"));
        });
        assert_eq!(
            same, unchanged,
            "it is replaced on one replica after the other"
        );
    }
}
