use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::*;
use crate::config::{Flags, Layers};
use crate::token::source::FailureKind;

fn refused() -> io::Error {
    io::ErrorKind::PermissionDenied.into()
}

fn address() -> Address {
    Address::Tcp(([127, 0, 0, 1], 9090).into())
}

fn listen(listener: &'static str, kind: io::ErrorKind) -> Failure {
    Failure::Build(BuildError::Listen {
        listener,
        address: address(),
        error: kind.into(),
    })
}

fn problems() -> Problems {
    let flags = Flags {
        admin_listen: Some("here".into()),
        ..Flags::default()
    };
    let layers = Layers {
        text: Some("proxy.listen = 80".into()),
        flags,
        ..Layers::default()
    };
    crate::config::load(&layers).unwrap_err()
}

/// One of each, and more where what is told differs.
fn examples() -> Vec<Failure> {
    use io::ErrorKind::{AddrInUse, AddrNotAvailable, NotFound, Other, PermissionDenied};
    let name = || "clerk".to_owned();
    let known = || vec!["clerk".to_owned(), "tms".to_owned()];
    let minute = Duration::from_secs(60);
    let no = || FailureKind::Refused.because("the provider answered 400 invalid_grant");
    let not_ready = "not ready\ncredential \"tms\" has no token yet\u{1b}[31m";
    let no_proxy = reqwest::Proxy::all("http://").unwrap_err();
    vec![
        Failure::Config(problems()),
        Failure::LeftOpen(problems()),
        listen("proxy", AddrInUse),
        listen("admin", AddrNotAvailable),
        listen("proxy", PermissionDenied),
        listen("proxy", NotFound),
        listen("proxy", Other),
        Failure::Build(BuildError::Activation(refused())),
        Failure::Build(BuildError::Listen {
            listener: "proxy",
            address: address(),
            error: Errno::MFILE.into(),
        }),
        Failure::Build(BuildError::Exposed(address())),
        Failure::Build(BuildError::Credential {
            route: "orders".into(),
            credential: name(),
        }),
        Failure::Build(BuildError::Store {
            credential: name(),
            store: "fleet".into(),
        }),
        Failure::Build(BuildError::HttpClient(no_proxy)),
        Failure::Build(BuildError::Metrics(prometheus::Error::AlreadyReg)),
        Failure::CommandLine(
            "error: unexpected argument '--confg' found\n\n  tip: a similar argument exists: \
             '--config'\n\nUsage: gatepass check [OPTIONS]\n\nFor more information, try '--help'.\n"
                .into(),
            None,
        ),
        Failure::UnknownCredential("clerc".into(), known()),
        Failure::UnknownCredential("clerc".into(), Vec::new()),
        Failure::WhichCredential(known()),
        Failure::WhichCredential(Vec::new()),
        Failure::Variable(
            "API=x".into(),
            "what stands behind the = does not begin with /",
        ),
        Failure::RawToTerminal,
        Failure::NoLogin(name()),
        Failure::ImplicitOnDevice,
        Failure::FileIsThere("gatepass.toml".into()),
        Failure::Unanswered,
        Failure::NoDeploymentOfLogin,
        Failure::Unwritten("/etc/gatepass.toml".into(), refused()),
        Failure::SecretUnwritten("./secret".into(), refused()),
        Failure::SecretToCome("./secret".into(), "gatepass token --config x.toml".into()),
        Failure::NoToken(name(), no().advise("check username and password")),
        Failure::NoToken(name(), no()),
        Failure::SessionInUse(name(), "/var/lib/session".into(), address()),
        Failure::NoCallback(AddrInUse.into()),
        Failure::NobodyLoggedIn(name(), minute),
        Failure::LoginFailed(name(), no().advise("log in again")),
        Failure::LogoutFailed(name(), no()),
        Failure::NotReadyInTime(address(), minute, Silence::Said(not_ready.into())),
        Failure::NotReadyInTime(address(), minute, Silence::Unreachable(refused())),
        Failure::NoStatus(address(), Silence::Unreachable(refused())),
        Failure::NoStatus(
            address(),
            Silence::Stranger("<!doctype html>\n<title>\u{1b}".into()),
        ),
        Failure::NotReadyInTime(address(), minute, Silence::Stranger(String::new())),
        Failure::NoTokensInTime(minute, "credential \"tms\" has no token yet".into()),
        Failure::NoCommand("./run".into(), NotFound.into()),
        Failure::NoCommand("./Cargo.toml".into(), NotFound.into()),
        Failure::NoCommand("./run".into(), Errno::NOEXEC.into()),
        Failure::from(RunError::Worker(refused())),
        Failure::Unprinted(io::ErrorKind::StorageFull.into()),
        Failure::System(refused()),
        Failure::Fault("there is no credential in what was written".into()),
    ]
}

#[test]
fn each_is_told_in_the_one_form() {
    let mut told = String::new();
    for failure in examples() {
        let _ = writeln!(told, "gatepass: {failure}\n=> {}\n", failure.exit_code());
    }
    insta::assert_snapshot!(told);
}

#[test]
fn none_is_left_out() {
    let told: BTreeSet<_> = examples()
        .iter()
        .flat_map(|failure| {
            let written = format!("{failure:?}");
            let build = written.strip_prefix("Build(").map(first_word);
            [Some(first_word(&written)), build]
        })
        .flatten()
        .collect();
    let mut known = variants(include_str!("../failure.rs"), "enum Failure");
    known.extend(variants(
        include_str!("../../app/error.rs"),
        "enum BuildError",
    ));
    assert_eq!(told, known, "each has an example above");
}

fn first_word(text: &str) -> String {
    text.chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect()
}

/// The names in an enumeration's source.
fn variants(source: &str, head: &str) -> BTreeSet<String> {
    let (_, body) = source.split_once(head).unwrap();
    let (body, _) = body.split_once("\n}\n").unwrap();
    let names = body.lines().filter_map(|line| line.strip_prefix("    "));
    let names = names.filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()));
    names.map(first_word).collect()
}
