//! What a deployment needs is printed beside the configuration.

use std::fs;

use super::init;
use crate::support::CLIENT_SECRET;
use crate::support::gatepass::project;

#[test]
fn what_a_deployment_needs_is_printed() {
    let mut steps = Vec::new();
    let mut printed = |deployment| {
        let further = ["--client-secret-file", "./secret", "--path", "/orders"];
        let flags = [&further[..], &["--deployment", deployment]].concat();
        let written = init(&flags, &[("secret", CLIENT_SECRET)]);
        assert_eq!(written.code, Some(0), "{}", written.stderr);
        // It may lead into a file, which would be no YAML.
        for other in ["is written", "Next:"] {
            assert!(!written.stdout.contains(other), "{}", written.stdout);
            assert!(written.stderr.contains(other), "{}", written.stderr);
        }
        assert!(!written.stderr.contains("curl"), "{}", written.stderr);
        let (_, next) = written.stderr.split_once("Next:\n").unwrap();
        steps.push(format!("{deployment}:\n{next}"));
        written.stdout
    };
    let pod = printed("kubernetes");
    for part in [
        "# kubectl create secret generic gatepass --from-file=client-secret=./secret\n",
        "\n    client_secret_file = \"/run/secrets/gatepass/client-secret\"",
        "\n    upstream = \"https://api.example/v1\"\n",
        "value: \"http://127.0.0.1:8080/orders\"",
        "mountPath: /run/secrets/gatepass,",
    ] {
        assert!(pod.contains(part), "{part}: {pod}");
    }
    // With those that gatepass takes for granted, so many requests are admitted that the kernel ends it.
    let example = project().join("deploy/kubernetes/example/gatepass.toml");
    let example = fs::read_to_string(example).unwrap();
    let (_, limits) = example.split_once("\n[proxy.limits]").unwrap();
    let limits = limits.replace('\n', "\n    ");
    let limits = format!("\n\n    [proxy.limits]{}\n---\n", limits.trim_end());
    assert!(pod.contains(&limits), "{limits}: {pod}");
    let unit = printed("systemd");
    for part in [
        "\n# install -D -m 600 ./secret /etc/gatepass/client-secret\n",
        "client_secret_file = \"/run/credentials/gatepass.service/client-secret\"",
        "\nLoadCredential=client-secret:/etc/gatepass/client-secret\n",
        "\nExecStart=",
    ] {
        assert!(unit.contains(part), "{part}: {unit}");
    }
    insta::assert_snapshot!(steps.join("\n"), @r"
    kubernetes:
      gatepass check
      write what is printed into pod.yaml, with your images in it
      kubectl create secret generic gatepass --from-file=client-secret=./secret
      kubectl apply -f pod.yaml

    systemd:
      gatepass check
      write the two files that are printed to where their first lines say
      install -D -m 600 ./secret /etc/gatepass/client-secret
      systemctl daemon-reload && systemctl enable --now gatepass
    ");
}

/// Neither a service nor a pod is started where `init` was, and both may write to few places.
#[test]
fn a_session_is_kept_where_a_deployment_may_write() {
    for deployment in ["systemd", "kubernetes"] {
        let flags = [
            "--grant-type",
            "password",
            "--username",
            "clerk",
            "--password-file",
            "./password",
            "--deployment",
            deployment,
        ];
        let written = init(&flags, &[]);
        assert_eq!(written.code, Some(0), "{}", written.stderr);
        let kept = "# session_file = \"/var/lib/gatepass/keycloak.session\"";
        assert!(written.stdout.contains(kept), "{}", written.stdout);
    }
}

/// Files of the same name in two directories are two secrets.
#[test]
fn a_deployment_tells_secrets_apart() {
    let flags = [
        "--grant-type",
        "password",
        "--username",
        "clerk",
        "--client-secret-file",
        "./client/secret",
        "--password-file",
        "./clerk/secret",
        "--deployment",
        "systemd",
    ];
    let written = init(&flags, &[]);
    assert_eq!(written.code, Some(0), "{}", written.stderr);
    for (key, name, file) in [
        ("client_secret_file", "client-secret", "./client/secret"),
        ("password_file", "password", "./clerk/secret"),
    ] {
        for part in [
            format!("# install -D -m 600 {file} /etc/gatepass/{name}\n"),
            format!("\nLoadCredential={name}:/etc/gatepass/{name}\n"),
            format!("\n{key} = \"/run/credentials/gatepass.service/{name}\""),
        ] {
            assert!(written.stdout.contains(&part), "{part}: {}", written.stdout);
        }
    }
}
