//! Mistakes in what says where and how applications call, and in what an upstream speaks.

use crate::config_mistakes::mistakes;
use crate::support::certificates::{Authority, Identity};
use crate::support::gatepass::run;

const ROUTE: &str = r#"
[[routes]]
path = "/"
upstream = "https://api.example"
credential = "none"
"#;

#[test]
fn listeners_and_callers() {
    let config = format!(
        r#"
        [proxy]
        listen = [
            "unix:", "tls:unix:/run/x.sock", "tls:127.0.0.1:8443", "unix:/run/x.sock",
            "unix:/run/x.sock", "systemd:", "tls:0.0.0.0:1",
        ]
        [proxy.tls]
        cert_file = "no-such.crt"
        [proxy.unix]
        mode = 660
        owner = "root"
        group = -1
        [proxy.callers]
        key = "canary"
        key_env = "CANARY"
        key_header = "Host"
        uids = ["root"]
        [proxy.limits]
        streams = 0
        requests = "many"
        {ROUTE}"#
    );
    insta::assert_snapshot!("of_listeners", mistakes(&config));
}

#[test]
fn certificates_for_nobody_and_keys_for_nothing() {
    let config = format!(
        "proxy.tls = {{ cert_file = \"gatepass.toml\", key_file = \"gatepass.toml\" }}\n\
         proxy.callers.key_header = \"x-key\"\n{ROUTE}"
    );
    insta::assert_snapshot!("of_unused_listener_keys", mistakes(&config));
    let config = format!(
        "[proxy]\nlisten = \"tls:127.0.0.1:1\"\n\
         tls = {{ cert_file = \"gatepass.toml\", key_file = \"gatepass.toml\" }}\n{ROUTE}"
    );
    insta::assert_snapshot!("of_listener_certificates", mistakes(&config));
    // Where a flag says this time where to listen, nobody looks at it.
    let checked = run(
        &["check", "--listen", "127.0.0.1:1"],
        &[("gatepass.toml", &config)],
    );
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
}

#[test]
fn upstreams_and_what_is_spoken_with_them() {
    let config = r#"
        [proxy]
        listen = "unix:/run/x.sock"
        [[routes]]
        path = "/a"
        upstream = "unix:relative.sock"
        credential = "none"
        [[routes]]
        path = "/b"
        upstream = "unix:/run/x.sock"
        credential = "none"
        [[routes]]
        path = "/c"
        upstream = "h2c://"
        credential = "none"
        protocol = "http3"
        forwarded = "x-forwarded-for"
        retries = -1
        max_body = "10MB"
        max_connections = 0
        tls.server_name = "not a name"
        timeouts = { request = "0s", connection_age = "never" }
        [[routes]]
        path = "/d"
        upstream = "h2c://user:canary@api.example"
        credential = "none"
    "#;
    insta::assert_snapshot!("of_upstreams", mistakes(config));
}

#[test]
fn the_same_address_twice_is_told_once() {
    let config = format!(
        "proxy.listen = [\"127.0.0.1:9090\", \"127.0.0.1:9090\", \"here\", \"here\"]\n{ROUTE}"
    );
    insta::assert_snapshot!("of_the_same_address", mistakes(&config));
    let config = config.replace(", \"here\"", "");
    insta::assert_snapshot!("of_the_same_good_address", mistakes(&config));
}

#[test]
fn sockets_that_cannot_be_made_and_keys_for_none() {
    let config = format!(
        "proxy.listen = \"unix:no/such/proxy.sock\"\nadmin.listen = \"unix:admin.sock\"\n{ROUTE}"
    );
    let checked = run(&["check"], &[("gatepass.toml", &config)]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    let warned = "Warning: the directory no/such is not there, in which the socket \
                  no/such/proxy.sock is to be made: make it before gatepass starts.";
    assert!(checked.stdout.contains(warned), "{}", checked.stdout);
    assert_eq!(checked.stdout.matches("Warning").count(), 1);

    let keys = "proxy.unix.mode = \"0660\"\nproxy.callers.uids = [1000]";
    let config = format!("{keys}\n{ROUTE}");
    let checked = run(&["check"], &[("gatepass.toml", &config)]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    for key in ["proxy.unix.mode", "proxy.callers.uids"] {
        let warned = format!("Warning: {key} is about Unix sockets, and proxy.listen has none");
        assert!(checked.stdout.contains(&warned), "{}", checked.stdout);
    }
    let config = format!("proxy.listen = \"unix:proxy.sock\"\n{config}");
    let checked = run(&["check"], &[("gatepass.toml", &config)]);
    assert!(!checked.stdout.contains("Warning"), "{}", checked.stdout);
}

#[test]
fn certificates_of_ones_own_that_have_run_out() {
    let authority = Authority::new();
    let warnings = |identity: &Identity| {
        let config = format!(
            "proxy.listen = \"tls:127.0.0.1:8443\"\n\
             proxy.tls = {{ cert_file = \"tls.crt\", key_file = \"tls.key\" }}\n{ROUTE}\
             tls = {{ client_cert_file = \"tls.crt\", client_key_file = \"tls.key\" }}"
        );
        let files = [
            ("gatepass.toml", &*config),
            ("tls.crt", &*identity.certificate),
            ("tls.key", &*identity.key),
        ];
        let checked = run(&["check"], &files);
        assert_eq!(checked.code, Some(0), "{}", checked.stderr);
        let lines = checked.stdout.lines();
        let warnings = lines.filter(|line| line.starts_with("Warning"));
        warnings.collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(
        "of_outdated_certificates",
        warnings(&authority.expired_server())
    );
    assert_eq!(warnings(&authority.server()), "");
}

#[test]
fn a_socket_that_leads_back() {
    let config = format!(
        "proxy.listen = \"unix:/run/x.sock\"\n{}",
        ROUTE.replace("https://api.example", "unix:/run/x.sock")
    );
    let said = mistakes(&config);
    assert!(
        said.contains("unix:/run/x.sock, which is where gatepass itself listens"),
        "{said}"
    );
}

#[test]
fn what_is_reached_from_outside_needs_a_key_a_certificate_or_a_word() {
    let wide = "[proxy]\nlisten = \"0.0.0.0:8080\"\n";
    mistakes(&format!("{wide}{ROUTE}"));
    for enough in ["callers.key = \"k\"", "trust_network = true"] {
        let config = format!("{wide}{enough}\n{ROUTE}");
        let checked = run(&["check"], &[("gatepass.toml", &config)]);
        assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    }
    // Whose process calls says nothing about who is on the network.
    mistakes(&format!("{wide}callers.uids = [0]\n{ROUTE}"));
}

/// Every caller would be refused, whatever it shows.
#[test]
fn a_key_that_no_caller_can_show() {
    let told = |key: &str| mistakes(&format!("proxy.callers.key = \"{key}\"\n{ROUTE}"));
    let of_a_space = told(" canary");
    for key in ["canary\\t", "can\\u0001ary", "can\\nary"] {
        assert_eq!(told(key), of_a_space, "{key}");
    }
    insta::assert_snapshot!("of_a_key_that_no_caller_can_show", of_a_space);
    let config = format!("proxy.callers.key = \"canary clé\"\n{ROUTE}");
    let checked = run(&["check"], &[("gatepass.toml", &config)]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
}

#[test]
fn a_socket_that_systemd_has_not_handed_over() {
    let config = format!("proxy.listen = \"systemd\"\nadmin.listen = \"127.0.0.1:0\"\n{ROUTE}");
    let started = run(&["run"], &[("gatepass.toml", &config)]);
    assert_eq!(started.code, Some(69));
    let next = "next      see the socket unit (systemctl cat gatepass.socket), or choose another";
    assert!(started.stderr.contains(next), "{}", started.stderr);
}
