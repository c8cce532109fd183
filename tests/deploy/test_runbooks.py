"""What docs/runbooks.md says of a pod, with the settings of a pod."""

import os
import pathlib
import re
import subprocess
import tempfile
import unittest
import urllib.error
import urllib.request

from peers import Peers, answers
from rendered import GATEPASS, PROJECT, plain, sidecar
from test_documentation import commands


class Pod(unittest.TestCase):
    def setUp(self):
        scratch = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.peers = self.enterContext(Peers(scratch))
        self.peers.release.set()
        secret = scratch / "client-secret"
        secret.write_text("s")
        secret.chmod(0o600)
        # Where things stand in the container, and here.
        self.here = {
            "/gatepass ": f"{GATEPASS} ",
            "/etc/gatepass/": f"{scratch}/",
            "/run/secrets/gatepass/client-secret": str(secret),
            "127.0.0.1:8080": self.peers.proxy.removeprefix("http://"),
            "0.0.0.0:9090": "0.0.0.0:" + self.peers.admin.rpartition(":")[2],
        }
        for name, text in self.peers.configuration().items():
            (scratch / name).write_text(self.adapted(text.replace("upstream.test", "localhost")))
        self.container = sidecar(plain("deploy/kubernetes/sidecar.yaml"))
        self.environment = {
            one["name"]: self.adapted(one["value"]) for one in self.container["env"]
        }

    def adapted(self, text):
        for there, here in self.here.items():
            text = text.replace(there, here)
        return text

    def runs(self, command):
        environment = os.environ | self.environment
        return subprocess.Popen(
            self.adapted(command).split(),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def test_what_is_said_can_be_done(self):
        serving = self.runs("/gatepass " + " ".join(self.container["args"]))
        self.addCleanup(serving.communicate)
        self.addCleanup(serving.kill)
        answers(f"{self.peers.admin}/readyz", lambda: "")
        told = [
            self.runs(command.removeprefix("kubectl exec POD -c gatepass -- "))
            for command in commands(PROJECT / "docs/runbooks.md")
            if command.startswith("kubectl exec ")
        ]
        self.assertEqual(len(told), 2)
        for process in told:
            output, _ = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 0, output)
            self.assertIn("test", output)
        # As `kubectl port-forward` does: from loopback, which is not what counts.
        refresh = f"{self.peers.admin}/api/credentials/test/refresh"
        with self.assertRaises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(refresh, method="POST"), timeout=10)
        self.assertEqual(refused.exception.code, 403)
        refused.exception.close()
