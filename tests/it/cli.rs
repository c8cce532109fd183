//! What the command line prints, and how it ends.

use std::process::Stdio;

use crate::support::gatepass::{command, project, run};

#[test]
fn help() {
    let finished = run(&["--help"], &[]);
    assert_eq!(finished.code, Some(0));
    insta::assert_snapshot!("help", finished.stdout);
}

#[test]
fn help_of_each_command() {
    for command in COMMANDS {
        let finished = run(&[command, "--help"], &[]);
        assert_eq!(finished.code, Some(0));
        insta::assert_snapshot!(format!("help_{command}"), finished.stdout);
    }
}

const COMMANDS: [&str; 14] = [
    "init",
    "run",
    "check",
    "doctor",
    "login",
    "logout",
    "token",
    "status",
    "exec",
    "wait",
    "demo",
    "schema",
    "completions",
    "man",
];

#[test]
fn version() {
    let short = run(&["-V"], &[]).stdout;
    let first = concat!("gatepass ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(short, first);
    let long = run(&["--version"], &[]).stdout;
    assert!(long.starts_with(first), "{long}");
    let names: Vec<_> = long
        .lines()
        .skip(1)
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(names, ["commit", "target", "profile", "compiler", "TLS"]);
    // Nothing of the machine that it was built on.
    assert!(!long.contains('/'), "{long}");
}

/// As `head` does.
#[test]
fn whoever_reads_no_further_has_enough() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = command()
        .arg("schema")
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let told = String::from_utf8(ended.stderr).unwrap();
    assert_eq!((ended.status.code(), told.as_str()), (Some(0), ""));
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = run(&["completions", shell], &[]);
        assert_eq!(script.code, Some(0), "{}", script.stderr);
        assert!(script.stdout.contains("print-config"), "{shell}");
    }
    // What bash itself makes of it.
    let script = run(&["completions", "bash"], &[]).stdout;
    for (before, word, completed) in [
        ("run", "--print", "--print-config\n"),
        ("--preset", "key", "keycloak\n"),
        ("--grant-type", "client", "client_credentials\n"),
        ("--environment", "prod", "production\n"),
    ] {
        let line = match before {
            "run" => format!("gatepass run {word}"),
            flag => format!("gatepass run {flag} {word}"),
        };
        let typed = format!(
            "COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMP_LINE='{line}'; \
             _gatepass gatepass {word} {before}; echo \"${{COMPREPLY[*]}}\""
        );
        let bash = std::process::Command::new("bash")
            .args(["-c", &format!("{script}\n{typed}")])
            .output();
        let bash = bash.unwrap();
        assert_eq!(String::from_utf8_lossy(&bash.stdout), completed, "{bash:?}");
    }
}

#[test]
fn pages_for_man() {
    let page = run(&["man"], &[]);
    assert_eq!(page.code, Some(0), "{}", page.stderr);
    for part in [
        ".TH gatepass 1",
        "gatepass\\-run(1)",
        ".SH \"EXIT STATUS\"\n.TP\n\\fB0\\fR\ndone\n.TP\n\\fB64\\fR\n",
    ] {
        assert!(page.stdout.contains(part), "{part}: {}", page.stdout);
    }
    let version = concat!("\n.SH VERSION\nv", env!("CARGO_PKG_VERSION"), "\n.SH ");
    assert!(page.stdout.contains(version), "{}", page.stdout);
    for part in ["EXTRA", "Exit codes", "help(1)"] {
        assert!(!page.stdout.contains(part), "{part}: {}", page.stdout);
    }
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("share/man1");
    let path = place.display().to_string();
    let written = run(&["man", "--directory", &path], &[]);
    assert_eq!(written.code, Some(0), "{}", written.stderr);
    let read = |name: &str| std::fs::read_to_string(place.join(name)).unwrap();
    assert_eq!(read("gatepass.1"), page.stdout);
    let mut named = 0;
    for name in page.stdout.split("gatepass\\-").skip(1) {
        if let Some((name, _)) = name.split_once("(1)\n") {
            read(&format!("gatepass-{name}.1"));
            named += 1;
        }
    }
    assert_eq!(named, COMMANDS.len(), "each page that is named is there");
    let nowhere = run(&["man", "--directory", "file/man1"], &[("file", "")]);
    assert_eq!(nowhere.code, Some(69));
    insta::assert_snapshot!(nowhere.stderr, @r"
    gatepass: file/man1 cannot be written
        why       Not a directory (os error 20)
        next      make the directory, or name another place
    ");
}

#[test]
fn a_wrong_command_line_exits_with_64() {
    for arguments in [&["--nonsense"][..], &["rum"], &[], &["run", "--config"]] {
        let finished = run(arguments, &[]);
        assert_eq!(finished.code, Some(64), "{arguments:?}");
        assert!(
            finished.stderr.contains("--help"),
            "{arguments:?}: {}",
            finished.stderr
        );
    }
}

#[test]
fn no_configuration_anywhere() {
    let finished = run(&["check"], &[]);
    assert_eq!(finished.code, Some(78));
    insta::assert_snapshot!(finished.stderr, @"
    gatepass: 1 problem has to be mended in the configuration before anything can run.

    no configuration
        found     neither gatepass.toml nor /etc/gatepass/gatepass.toml
        expected  one of them, which `gatepass init` writes, or another file by --config FILE, or one route by --upstream; `gatepass demo` needs none
    ");
}

#[test]
fn a_file_that_is_named_as_elsewhere() {
    for arguments in [&["check", "my.toml"][..], &["run", "-c", "my.toml"]] {
        let finished = run(arguments, &[]);
        assert_eq!(finished.code, Some(64));
        let tip = "    next      name a configuration file by --config FILE\n";
        assert!(finished.stderr.contains(tip), "{}", finished.stderr);
    }
}

/// Each is told of what it takes itself.
#[test]
fn no_configuration_for_what_takes_no_upstream() {
    let said = |arguments: &[&str]| {
        let finished = run(arguments, &[]);
        assert_eq!(finished.code, Some(78), "{}", finished.stderr);
        finished.stderr
    };
    for command in ["token", "login", "logout"] {
        let said = said(&[command]);
        assert!(
            said.ends_with("or another file by --config FILE\n"),
            "{said}"
        );
    }
    for command in ["status", "wait"] {
        let said = said(&[command]);
        let wanted = "--config FILE, or its admin listener's address by --admin-listen ADDRESS\n";
        assert!(said.ends_with(wanted), "{said}");
    }
    for command in ["run", "check", "doctor"] {
        assert!(said(&[command]).contains("one route by --upstream"));
    }
}

#[test]
fn an_address_that_is_taken_exits_with_69() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let finished = run(
        &[
            "demo",
            "--listen",
            &address,
            "--admin-listen",
            "127.0.0.1:0",
        ],
        &[],
    );
    assert_eq!(finished.code, Some(69));
    insta::assert_snapshot!(finished.stderr.replace(&address, "ADDRESS"), @r"
    gatepass: the proxy listener cannot use ADDRESS
        why       Address already in use (os error 98)
        next      stop the process that listens there, or choose another address with --listen
    ");
}

#[test]
fn a_good_configuration_is_summed_up() {
    let config = r#"
        [credentials.envase]
        token_endpoint = "https://id.example/oauth2/token"
        client_id = "tms"
        client_secret_file = "secret"

        [credentials.spare]
        token_endpoint = "https://id.example/oauth2/token"
        client_id = "tms"
        client_secret_file = "secret"

        [[routes]]
        path = "/connect"
        upstream = "https://api.example/v1"
        credential = "envase"

        [[routes]]
        path = "/public"
        upstream = "http://localhost:8000"
        credential = "none"
    "#;
    let finished = run(
        &["check"],
        &[("gatepass.toml", config), ("secret", "canary\n")],
    );
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    insta::assert_snapshot!(finished.stdout, @r#"
    The configuration is good: gatepass.toml

    Applications call http://127.0.0.1:8080
      /connect → https://api.example/v1 with a token of "envase"
      /public → http://localhost:8000 with no token

    Tokens of "envase" come from https://id.example/oauth2/token

    Warning: no route uses credential "spare": no token is fetched for it.

    Operators look at http://127.0.0.1:9090/readyz and /metrics
    "#);
}

/// What is shown could stand in the configuration, and would mean the same.
#[test]
fn what_check_shows_can_be_written() {
    let example = std::fs::read_to_string(project().join("config.example.toml")).unwrap();
    let credentials = example.split("# ---- Further ways").nth(1).unwrap();
    let table = |name: &str| {
        let table = credentials
            .split(&format!("[credentials.{name}]\n"))
            .nth(1)
            .unwrap();
        let keys = table.lines().take_while(|line| !line.is_empty());
        keys.filter(|line| !line.starts_with('#'))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let mut tables = vec![
        "preset = \"envase\"\nenvironment = \"staging\"\nclient_id = \"tms\"\n\
         client_secret = \"canary\"\nscope = [\"a\", \"b\"]\n\
         headers = { x-api-key = \"canary\" }\n\
         verify = { jwks_uri = \"https://id.example/jwks\", audience = [\"a\", \"b\"] }"
            .to_owned(),
        "preset = \"itc-compliance\"\ndomain = \"id.example\"\nclient_id = \"tms\"\n\
         client_secret = \"canary\"\nusername = \"clerk\"\npassword = \"canary\""
            .to_owned(),
    ];
    for name in ["by-platform", "exchanged", "by-basic", "firebase", "pod"] {
        tables.push(table(name).replace("_file = \"/run/secrets/", " = \"canary"));
    }
    let mut shown = Vec::new();
    for table in tables {
        let first = check_show(&table);
        assert!(!first.contains("canary"), "{first}");
        assert_eq!(check_show(&first), first);
        shown.push(first);
    }
    insta::assert_snapshot!("check_show", shown.join("\n"));
}

/// The credential as `check --show` shows it.
fn check_show(credential: &str) -> String {
    let config = format!(
        "[credentials.a]\n{credential}\n[[routes]]\npath = \"/\"\n\
         upstream = \"https://api.example\"\ncredential = \"a\"\n"
    );
    let finished = run(&["check", "--show"], &[("gatepass.toml", &config)]);
    assert_eq!(finished.code, Some(0), "{}\n{config}", finished.stderr);
    let (_, shown) = finished.stdout.split_once("[credentials.a]\n").unwrap();
    shown.to_owned()
}

/// As `--config <(…)` of a shell.
#[test]
fn a_configuration_may_come_by_a_pipe() {
    let config =
        "[[routes]]\npath = \"/\"\nupstream = \"https://api.example\"\ncredential = \"none\"\n";
    let directory = tempfile::tempdir().unwrap();
    // A pipe that is opened twice is waited for without end.
    let script = "mkfifo pipe; printf %s \"$1\" >pipe & exec timeout 20 \"$0\" check --config pipe";
    let checked = std::process::Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_gatepass"), config])
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
}

#[test]
fn a_configuration_without_an_end_is_none() {
    let finished = run(&["check", "--config", "/dev/zero"], &[]);
    assert_eq!(finished.code, Some(78));
    insta::assert_snapshot!(finished.stderr, @r"
    gatepass: 1 problem has to be mended in the configuration before anything can run.

    /dev/zero
        found     a file that cannot be read: it is larger than 16 MiB
        expected  a readable file in TOML
    ");
}
