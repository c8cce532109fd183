//! What stands beside each key in the file that is written.

/// What a credential's key is, for whoever reads the file and has not chosen it.
pub(super) fn comment_on(key: &str) -> &'static str {
    match key {
        "preset" => "the provider, which fills in what it fixes",
        "environment" => "of the provider",
        "domain" => "the provider's host",
        "tenant" => "the directory",
        "realm" => "the realm",
        "token_endpoint" => "where tokens are asked for",
        "issuer" => "the provider, which says itself where its token endpoint is",
        "grant_type" => "the way to a token",
        "client_id" => "the client's identifier",
        "client_secret_file" => "a file with the client's secret",
        "private_key_file" => "a PEM file with the client's key",
        "service_account_file" => "the key file of the service account",
        "username" => "the user that signs in",
        "password_file" => "a file with the user's password",
        "api_key_file" => "a file with the project's key",
        "scope" => "what is asked for",
        "audience" => "the service that the token is meant for",
        "token_file" => "a file that somebody else writes tokens to",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CREDENTIAL_KEYS;

    #[test]
    fn each_key_has_one() {
        for key in CREDENTIAL_KEYS {
            assert!(!comment_on(key).is_empty(), "{key}");
        }
    }
}
