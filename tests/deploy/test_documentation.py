"""docs/getting-started.md, followed line by line."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import yaml

from peers import Peers
from rendered import GATEPASS, PROJECT, plain


class Guide(unittest.TestCase):
    def test_the_guide_leads_to_an_answer(self):
        scratch = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        peers = self.enterContext(Peers(scratch))
        peers.release.set()
        shutil.copytree(PROJECT / "deploy", scratch / "deploy")
        page = PROJECT / "docs/getting-started.md"
        [config] = re.findall(r"(?s)```toml\n(.*?)```", page.read_text())
        (scratch / "gatepass.toml").write_text(adapted(config, peers, scratch))
        environment = os.environ | {
            "PATH": f"{pathlib.Path(GATEPASS).parent}:{os.environ['PATH']}",
            "GATEPASS__PROXY__LISTEN": peers.proxy.removeprefix("http://"),
            "GATEPASS__ADMIN__LISTEN": peers.admin.removeprefix("http://"),
        }
        told = {}
        for command in commands(page):
            # The command before it renders what it applies; there is no cluster. What needs root
            # is followed in test_systemd.py, and images are built in test_image.py.
            if command.startswith(("kubectl apply ", "sudo ", "docker ")):
                continue
            if command == "gatepass run":
                serving = subprocess.Popen(
                    command.split(), cwd=scratch, env=environment, stderr=subprocess.DEVNULL
                )
                self.addCleanup(serving.wait)
                self.addCleanup(serving.kill)
                continue
            finished = subprocess.run(
                ["bash", "-ec", here(command, peers)],
                cwd=scratch,
                env=environment,
                input="s\n",
                capture_output=True,
                text=True,
                timeout=90,
                check=False,
            )
            self.assertEqual(finished.returncode, 0, f"{command}: {finished.stderr}")
            told[command] = finished.stdout
        self.assertEqual(told["curl http://127.0.0.1:8080/connect/events"], "hello")
        self.assertEqual(peers.authorization, "Bearer token-of-the-test")
        self.assertEqual(peers.seen[0], "/events")
        self.assertIn("kind: Deployment", told["kubectl kustomize deploy/kubernetes/example"])
        [rule] = plain(scratch / "gatepass-rules.yaml")
        self.assertEqual(rule["kind"], "PrometheusRule")
        rules = (PROJECT / "deploy/prometheus/gatepass.rules.yml").read_text()
        self.assertEqual(rule["spec"], yaml.safe_load(rules))

    def test_the_five_lines_are_those_that_are_tested(self):
        lines = (PROJECT / "deploy/kubernetes/example/kustomization.yaml").read_text()
        guide = (PROJECT / "docs/getting-started.md").read_text()
        self.assertIn(f"```yaml\n{lines}```", guide)


def commands(page):
    """The lines of a page's blocks of commands."""
    blocks = re.findall(r"(?s)```sh\n(.*?)```", page.read_text())
    return "".join(blocks).replace("\\\n", "").splitlines()


def adapted(config, peers, scratch):
    """The page's configuration, with provider and upstream on this machine."""
    provider = f'token_endpoint = "http://127.0.0.1:{peers.provider.server_port}/token"\n'
    config = config.replace('preset = "envase"\n', f'preset = "envase"\n{provider}')
    upstream = f"https://localhost:{peers.upstream.server_port}"
    config = config.replace("https://core-stg.envaseconnect.cloud", upstream)
    return config + f'tls = {{ ca_file = "{scratch}/tls.crt" }}\n'


def here(command, peers):
    """The command with the ports of this test, without a cluster, and failing as `curl` does not."""
    command = command.replace("http://127.0.0.1:8080", peers.proxy)
    command = command.replace("http://127.0.0.1:9090", peers.admin)
    if command.startswith("curl "):
        return command + " --fail --silent --show-error"
    if command.startswith(("kubectl create ", "helm install ")):
        return command + " --dry-run=client"
    return command
