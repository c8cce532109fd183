//! What a deployment of the configuration needs.

use std::path::Path;

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
    pub(super) fn text(self, output: &Path, draft: &Draft) -> String {
        let (name, output) = (draft.name(), output.display());
        let files: Vec<_> = SECRET_FILES
            .iter()
            .filter_map(|key| draft.value(key))
            .collect();
        let files = files.iter().map(Path::new);
        match self {
            Self::Kubernetes => {
                let from: String = files
                    .map(|file| {
                        let key = file.file_name().unwrap_or_default().display();
                        format!(" --from-file={key}={}", file.display())
                    })
                    .collect();
                format!(
                    "\n# The configuration and the secrets. What …_file names is the path in the pod, such as\n\
                     # /run/secrets/{name}/client-secret.\n\
                     # kubectl create configmap gatepass --from-file=gatepass.toml={output}\n\
                     # kubectl create secret generic {name}{from}\n{SIDECAR}"
                )
            }
            Self::Systemd => format!(
                "\n# install -m 644 {output} /etc/gatepass/gatepass.toml\n\
                 # systemctl daemon-reload && systemctl enable --now gatepass\n{UNIT}"
            ),
        }
    }
}

const SECRET_FILES: [&str; 5] = [
    "client_secret_file",
    "private_key_file",
    "service_account_file",
    "password_file",
    "api_key_file",
];

const SIDECAR: &str = include_str!("../../../deploy/kubernetes/sidecar.yaml");
const UNIT: &str = include_str!("../../../deploy/systemd/gatepass.service");
