//! What a deployment needs is printed beside the configuration.

use super::init;
use crate::support::CLIENT_SECRET;

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
