//! One route and its credential by flags, and the file that says the same.

use std::ffi::OsStr;
use std::fmt::Write as _;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, Args, Command};

use crate::config::{Flags, ONLY_CREDENTIAL, OneRoute, quoted, words_of_credential};

/// What tokens are got with. There is no flag for a secret itself: others on the machine can read a
/// process's arguments.
#[derive(Debug, Default, Args)]
#[group(id = "credential", multiple = true)]
#[command(next_help_heading = "One credential without a file")]
pub(super) struct CredentialArguments {
    /// The provider, where gatepass knows it by name, such as envase or auth0
    #[arg(long, value_name = "NAME", value_parser = Known("preset"), hide_possible_values = true)]
    preset: Option<String>,

    /// Of envase: development, staging or production
    #[arg(long, value_name = "NAME", value_parser = Known("environment"), hide_possible_values = true)]
    environment: Option<String>,

    /// The provider's host, for most presets
    #[arg(long, value_name = "HOST")]
    domain: Option<String>,

    /// The directory (tenant) of entra
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,

    /// The realm of keycloak
    #[arg(long, value_name = "REALM")]
    realm: Option<String>,

    /// Where tokens are asked for, without a preset
    #[arg(long, value_name = "URL")]
    token_endpoint: Option<String>,

    /// The provider, which publishes where its token endpoint is, without a preset
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,

    /// The way to a token [default: client_credentials, or by preset]
    #[arg(long, value_name = "GRANT", value_parser = Known("grant_type"), hide_possible_values = true)]
    grant_type: Option<String>,

    /// The client's identifier
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,

    /// A file with the client's secret
    #[arg(long, value_name = "FILE")]
    client_secret_file: Option<String>,

    /// A PEM file with the client's key, in the place of a secret
    #[arg(long, value_name = "FILE")]
    private_key_file: Option<String>,

    /// The key file of a Google service account
    #[arg(long, value_name = "FILE")]
    service_account_file: Option<String>,

    /// The user that signs in
    #[arg(long, value_name = "NAME")]
    username: Option<String>,

    /// A file with the user's password
    #[arg(long, value_name = "FILE")]
    password_file: Option<String>,

    /// A file with the key of a project of Google Identity Toolkit
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<String>,

    /// The scope to ask for; several with spaces between, or the flag more than once
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,

    /// The service that the token is meant for
    #[arg(long, value_name = "AUDIENCE")]
    audience: Option<String>,

    /// A file that somebody else writes tokens to, in the place of a provider
    #[arg(long, value_name = "FILE")]
    token_file: Option<String>,
}

/// Any word for this key: the configuration's own check says which is wrong, and what was meant. What
/// completes a command line is told which there are.
#[derive(Debug, Clone, Copy)]
struct Known(&'static str);

impl TypedValueParser for Known {
    type Value = String;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let words = words_of_credential(self.0).into_iter();
        Some(Box::new(words.map(PossibleValue::new)))
    }
}

impl CredentialArguments {
    /// The keys that are given, with what they are.
    pub(super) fn keys(self) -> Vec<(&'static str, String)> {
        let scope = Some(self.scope.join(" ")).filter(|scope| !scope.is_empty());
        let keys = [
            ("preset", self.preset),
            ("environment", self.environment),
            ("domain", self.domain),
            ("tenant", self.tenant),
            ("realm", self.realm),
            ("token_endpoint", self.token_endpoint),
            ("issuer", self.issuer),
            ("grant_type", self.grant_type),
            ("client_id", self.client_id),
            ("client_secret_file", self.client_secret_file),
            ("private_key_file", self.private_key_file),
            ("service_account_file", self.service_account_file),
            ("username", self.username),
            ("password_file", self.password_file),
            ("api_key_file", self.api_key_file),
            ("scope", scope),
            ("audience", self.audience),
            ("token_file", self.token_file),
        ];
        let given = keys.into_iter();
        given
            .filter_map(|(key, value)| Some((key, value?)))
            .collect()
    }
}

/// The file that says what flags say.
pub(super) fn file(flags: &Flags) -> String {
    let mut text = String::from("# What the flags say. Variables (GATEPASS__…) go over it.\n");
    if let [first, others @ ..] = flags.listen.as_slice() {
        let listen = match others {
            [] => quoted(first),
            _ => {
                let all: Vec<_> = flags.listen.iter().map(|one| quoted(one)).collect();
                format!("[{}]", all.join(", "))
            }
        };
        let _ = writeln!(text, "\n[proxy]\nlisten = {listen}");
    }
    if let Some(listen) = &flags.admin_listen {
        let _ = writeln!(text, "\n[admin]\nlisten = {}", quoted(listen));
    }
    if let Some(OneRoute {
        upstream,
        credential,
    }) = &flags.route
    {
        let _ = writeln!(text, "\n[credentials.{ONLY_CREDENTIAL}]");
        for (key, value) in credential {
            let _ = writeln!(text, "{key} = {}", quoted(value));
        }
        let upstream = quoted(upstream.as_deref().unwrap_or_default());
        let _ = write!(
            text,
            "\n[[routes]]\npath = \"/\"\nupstream = {upstream}\ncredential = \"{ONLY_CREDENTIAL}\"\n"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::CREDENTIAL_KEYS;

    #[test]
    fn every_key_with_a_flag_is_taken_up() {
        let command = CredentialArguments::augment_args(Command::new("test"));
        let flags = command.get_arguments().filter_map(Arg::get_long);
        let flags: BTreeSet<_> = flags.map(|flag| flag.replace('-', "_")).collect();
        assert_eq!(flags, CREDENTIAL_KEYS.map(ToOwned::to_owned).into());

        let arguments = CREDENTIAL_KEYS.map(|key| format!("--{}={key}", key.replace('_', "-")));
        let line = ["test".to_owned()].into_iter().chain(arguments);
        let parsed = command.get_matches_from(line);
        let parsed = <CredentialArguments as clap::FromArgMatches>::from_arg_matches(&parsed);
        let expected = CREDENTIAL_KEYS.map(|key| (key, key.to_owned()));
        assert_eq!(parsed.unwrap().keys(), expected);
    }
}
