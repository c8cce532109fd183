//! A credential: one way to get one kind of token.

use std::collections::BTreeMap;

use figment::value::Value;
use secrecy::SecretString;

use super::super::decode::{Decode, Path, Report, Table};
use super::super::reference::{Described, Key, Kind, tables};
use super::super::scalar::{Count, OneOrMany, SecretSource, Share, Span};
use super::Tls;

tables! {
    Credential {
        preset: Option<String> = "none",
            "fills in what a provider fixes: `auth0`, `cognito`, `entra`, `envase`, \
            `fulfillmenttools`, `gdso-tis`, `google-identity-toolkit`, `google-service-account`, \
            `itc-compliance`, `keycloak`, `masmovil`, `okta`, `salesforce`; what is written \
            beside it goes over that, `gatepass check --show` shows the result";
        environment: Option<String> = "by preset",
            "of `envase`: `development`, `staging` or `production`";
        domain: Option<String> = "by preset",
            "the host of `auth0`, `cognito`, `gdso-tis`, `itc-compliance`, `keycloak`, \
            `masmovil`, `okta`, `salesforce`";
        tenant: Option<String> = "by preset",
            "the directory (tenant) of `entra`";
        realm: Option<String> = "by preset",
            "the realm of `keycloak`";
        authorization_server: Option<String> = "`default`",
            "of `okta`: the custom authorization server";
        grant_type: Option<String> = "`client_credentials`",
            "the way to a token, see docs/tokens.md";
        token_endpoint: Option<String> = "required, or by preset",
            "where tokens are asked for; `https`, or `http` on loopback";
        issuer: Option<String> = "none",
            "instead: the provider, which publishes where its token endpoint is (OpenID Connect \
            Discovery, RFC 8414)";
        token_endpoint_auth_method: Option<String> = "by what is written",
            "how the client authenticates, see docs/tokens.md";
        client_id: Option<String> = "required for most",
            "the client's identifier";
        client_secret: Option<SecretString> = "one of three",
            "the secret itself";
        client_secret_file: Option<String> = "one of three",
            "a file with the client's secret, read again at each refresh";
        client_secret_env: Option<String> = "one of three",
            "an environment variable with the secret";
        previous_client_secret: Option<SecretString> = "one of three, or none",
            "the secret itself";
        previous_client_secret_file: Option<String> = "one of three, or none",
            "a file with the secret before it, which is tried while the provider refuses the newer \
            one";
        previous_client_secret_env: Option<String> = "one of three, or none",
            "an environment variable with it";
        client_assertion_file: Option<String> = "none",
            "a file with an assertion that authenticates the client, written by others, read at \
            each use";
        client_assertion_type: Option<String> = "that of RFC 7523",
            "the type of that assertion";
        private_key_file: Option<String> = "none",
            "PEM file (PKCS#8) with the key for `private_key_jwt` or `jwt_bearer`, read at each \
            use";
        private_key_id: Option<String> = "none",
            "`kid`: the name by which the provider knows the key";
        signing_algorithm: Option<String> = "by the key",
            "`RS256`, `PS256`, `ES256` or `EdDSA`";
        username: Option<String> = "required for some",
            "the user that signs in";
        password: Option<SecretString> = "one of three",
            "the password itself";
        password_file: Option<String> = "one of three",
            "a file with the user's password, read at each sign-in";
        password_env: Option<String> = "one of three",
            "an environment variable with the password";
        refresh_token: Option<SecretString> = "one of three",
            "the refresh token itself";
        refresh_token_file: Option<String> = "one of three",
            "for `refresh_token`: a file with the first refresh token";
        refresh_token_env: Option<String> = "one of three",
            "an environment variable with it";
        session_file: Option<String> = "none",
            "where the refresh token outlives the process: a file of mode 600";
        api_key: Option<SecretString> = "one of three",
            "the key itself";
        api_key_file: Option<String> = "one of three",
            "for `identity_toolkit`: a file with the project's key";
        api_key_env: Option<String> = "one of three",
            "an environment variable with it";
        refresh_endpoint: Option<String> = "Google's",
            "for `identity_toolkit`: where refresh tokens are used";
        authorization_endpoint: Option<String> = "by `issuer`",
            "for logins: where people log in";
        device_authorization_endpoint: Option<String> = "by `issuer`",
            "for logins: where those on another device begin";
        revocation_endpoint: Option<String> = "by `issuer`",
            "for logins: where `gatepass logout` has refresh tokens revoked";
        redirect_uri: Option<String> = "`http://127.0.0.1/callback`",
            "for logins: where the browser comes back to on this machine; on any port if it names \
            none";
        response_type: Option<String> = "`token`",
            "for `implicit`: what is asked for, such as `id_token token`";
        service_account_file: Option<String> = "none",
            "for `jwt_bearer`: the JSON key file of a Google service account";
        assertion_file: Option<String> = "none",
            "for `jwt_bearer`: a file with an assertion signed by others";
        assertion_audience: Option<String> = "the token endpoint",
            "`aud` of the assertions that gatepass signs";
        assertion_issuer: Option<String> = "the account, or `client_id`",
            "for `jwt_bearer`: `iss` of the assertion";
        assertion_subject: Option<String> = "none",
            "for `jwt_bearer`: `sub` of the assertion, on whose behalf it is";
        assertion_claims: BTreeMap<String, String> = "none",
            "for `jwt_bearer`: a table of further claims of the assertion";
        subject_token_file: Option<String> = "required for `token_exchange`",
            "a file with the token to be exchanged";
        subject_token_type: Option<String> = "a JWT's",
            "its type (RFC 8693 §3)";
        actor_token_file: Option<String> = "none",
            "a file with the token of the party that acts for the subject";
        actor_token_type: Option<String> = "a JWT's",
            "its type";
        requested_token_type: Option<String> = "none",
            "the type of the token to be issued";
        token_file: Option<String> = "none",
            "instead of a provider: a file that somebody else writes tokens to, read again when it \
            changes. Where the upstream answers 401 for more reasons than the token, as with NTLM \
            or Negotiate, set `refresh_on_401` to `invalid_token`";
        scope: Option<OneOrMany> = "none",
            "a string with spaces or a list";
        scope_separator: Option<String> = "a space",
            "between several scopes";
        audience: Option<String> = "none",
            "the service that the token is meant for";
        resource: Option<OneOrMany> = "none",
            "the same as an address, or a list of them (RFC 8707)";
        parameters: BTreeMap<String, SecretSource> = "none",
            "a table of further parameters of the token request; a value is a string, `{ file = \
            \"…\" }` or `{ env = \"…\" }`";
        headers: BTreeMap<String, SecretSource> = "none",
            "a table of header fields of the token request; values as in `parameters`";
        body_format: Option<String> = "`form`",
            "of the token request; or `json`";
        token_field: Option<OneOrMany> = "by `grant_type`",
            "where the token is in the answer: a name, a JSON pointer, or `.` if it is the whole \
            answer; of a list, the first that is there. `access_token` for OAuth, `.` for \
            `token_file`; several usual names for the others";
        token_type: Option<String> = "`Bearer`, or `any` with `requested_token_type`",
            "what the answer must call the token, if it says so at all; `any` accepts every type";
        header: Option<String> = "`authorization`",
            "the field that carries the token to the upstream";
        scheme: Option<String> = "`Bearer`",
            "the word before the token; empty for none";
        timeout: Option<Span> = "`10s`",
            "for one attempt to get a token; saving a session may take half of it more";
        default_lifetime: Option<Span> = "`5m`",
            "of tokens whose answer does not say how long they live";
        refresh_on_401: Option<String> = "`always`",
            "whether a 401 of an upstream fetches a new token: `always`, `invalid_token` (if its \
            `WWW-Authenticate` says so), `never`";
        refreshes_on_401_per_minute: Option<Count> = "`4`",
            "how many such refreshes there are at most";
        store: Option<String> = "`memory`",
            "the name of a store in which replicas share this credential's tokens, see \
            docs/fleet.md; `memory` shares nothing";
        spread: Option<Share> = "`70%`; `10%` of lives below ten minutes",
            "the part of a token's life over which replicas spread their first refresh, up to `70%`";
        token_requests_per_hour: Option<Count> = "no limit",
            "how many token requests there may be in an hour; more are sent only if the token \
            would die";
        verify: Option<Verify>;
        egress_proxy: Option<SecretString> = "none",
            "an HTTP proxy on the way to the provider; variables such as `HTTPS_PROXY` are ignored";
        tls: Tls;
    }

    Verify {
        jwks_uri: Option<String> = "by `issuer`",
            "checks tokens by the keys that are published there";
        issuer: Option<String> = "by `issuer`",
            "who must have issued them (`iss`); this or the audience must be known";
        audience: Option<OneOrMany> = "any",
            "whom they must be meant for (`aud`): one name, or a list of which one must match";
    }
}
