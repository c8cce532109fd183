//! What a deployment of the configuration needs: the files of `deploy`, with the answers in them.

use clap::ValueEnum;

use super::draft::Draft;

/// Where gatepass is deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Deployment {
    /// Beside an application in a pod
    Kubernetes,
    /// As a service of a machine
    Systemd,
}

impl Deployment {
    /// The commands, and the file that they need.
    pub(super) fn text(self, draft: &Draft) -> String {
        match self {
            Self::Kubernetes => kubernetes(draft),
            Self::Systemd => systemd(draft),
        }
    }

    /// What is to be done with them.
    pub(super) fn steps(self, draft: &Draft) -> Vec<String> {
        match self {
            Self::Kubernetes => vec![
                "write what is printed into pod.yaml, with your images in it".into(),
                create_secret(draft),
                "kubectl apply -f pod.yaml".into(),
            ],
            Self::Systemd => {
                let files = "write the two files that are printed to where their first lines say";
                let mut steps = vec![files.into()];
                steps.extend(install_secrets(draft));
                steps.push(START.into());
                steps
            }
        }
    }
}

fn create_secret(draft: &Draft) -> String {
    let secrets = draft.secrets();
    let secrets: String = secrets
        .map(|(name, file)| format!(" --from-file={name}={file}"))
        .collect();
    format!("kubectl create secret generic gatepass{secrets}")
}

fn install_secrets(draft: &Draft) -> impl Iterator<Item = String> {
    let secrets = draft.secrets();
    secrets.map(|(name, file)| format!("install -D -m 600 {file} /etc/gatepass/{name}"))
}

fn kubernetes(draft: &Draft) -> String {
    let config: String = deployed(draft, "/run/secrets/gatepass")
        .lines()
        .map(|line| format!("    {line}").trim_end().to_owned() + "\n")
        .collect();
    let (example, pod) = SIDECAR.split_once(BETWEEN).unwrap_or(("", SIDECAR));
    // Without these it takes on more than fits into the memory that the pod gives it, and is killed.
    let (_, limits) = example.split_once(LIMITS).unwrap_or_default();
    let pod = pod.replace(
        EXAMPLE_URL,
        &format!("http://127.0.0.1:8080{}", draft.path()),
    );
    let create_secret = create_secret(draft);
    format!(
        "\n# {create_secret}\n\
         apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: gatepass\ndata:\n  gatepass.toml: |\n\
         {config}\n{LIMITS}{limits}{BETWEEN}{pod}"
    )
}

fn systemd(draft: &Draft) -> String {
    let installed: String = install_secrets(draft)
        .map(|command| format!("# {command}\n"))
        .collect();
    let loaded = draft
        .secrets()
        .map(|(name, _)| LOAD.replace("client-secret", &name));
    let loaded: Vec<_> = loaded.collect();
    let unit = UNIT.replace(&format!("# {LOAD}"), &loaded.join("\n"));
    let config = deployed(draft, "/run/credentials/gatepass.service");
    format!(
        "\n# ---- /etc/gatepass/gatepass.toml ----\n{config}\n\
         # ---- /etc/systemd/system/gatepass.service ----\n{installed}\
         # {START}\n{unit}"
    )
}

/// The file with its secrets in that directory, and what it keeps where the unit and the examples do: a path
/// from here would lead into the root directory there, which is read-only.
fn deployed(draft: &Draft, secrets: &str) -> String {
    let file = draft.with_secrets_in(secrets).file();
    file.replace("session_file = \"./", "session_file = \"/var/lib/gatepass/")
}

const START: &str = "systemctl daemon-reload && systemctl enable --now gatepass";

const SIDECAR: &str = include_str!("../../../deploy/kubernetes/sidecar.yaml");
/// Between the configuration and the pod.
const BETWEEN: &str = "---\napiVersion: v1\nkind: Pod\n";
/// With what the limits of the example begin.
const LIMITS: &str = "    [proxy.limits]";
/// Where the application of the example calls.
const EXAMPLE_URL: &str = "http://127.0.0.1:8080/connect";

const UNIT: &str = include_str!("../../../deploy/systemd/gatepass.service");
/// How the unit gets the secret of the example.
const LOAD: &str = "LoadCredential=client-secret:/etc/gatepass/client-secret";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_have_what_is_replaced_in_them() {
        let parts = [BETWEEN, LIMITS, EXAMPLE_URL].map(|part| (SIDECAR, part));
        for (file, part) in parts.into_iter().chain([(UNIT, LOAD)]) {
            assert_eq!(file.matches(part).count(), 1, "{part}");
        }
    }
}
