"""nginx, Envoy and gatepass by the files of deploy/migration: the same job, seen from the upstream."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.request

from peers import Peers, answers, free_port
from rendered import GATEPASS, PROJECT

UPSTREAM = "core-stg.envaseconnect.cloud"
PROVIDER = "envase-stg.auth.us-east-1.amazoncognito.com"
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"


class Migration(unittest.TestCase):
    def setUp(self):
        self.scratch = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.peers = self.enterContext(Peers(self.scratch))
        self.peers.release.set()
        (self.scratch / "client-secret").write_text("s")
        (self.scratch / "client-secret").chmod(0o600)

    def adapted(self, name, *changes):
        """A file of deploy/migration that finds what is here instead of what is out there."""
        text = (PROJECT / "deploy/migration" / name).read_text()
        for before, after in changes:
            self.assertIn(before, text)
            text = text.replace(before, after)
        (self.scratch / name).write_text(text)
        return str(self.scratch / name)

    def start(self, *command):
        log = open(self.scratch / "log", "w+", encoding="utf-8")
        self.addCleanup(log.close)
        process = subprocess.Popen(command, cwd=self.scratch, stdout=log, stderr=log)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)

    def does_the_job(self, port, *command):
        self.start(*command)
        address = f"http://127.0.0.1:{port}/connect/events?since=1%2F2"
        own = {"Authorization": "Bearer the-caller-s-own"}
        answers(address, (self.scratch / "log").read_text, own)
        self.assertEqual(self.peers.authorization, "Bearer token-of-the-test")
        path, host = self.peers.seen
        self.assertEqual(path, "/events?since=1%2F2")
        return host

    def test_nginx(self):
        nginx = shutil.which("nginx")
        self.assertTrue(nginx, "nginx is not installed: install nginx-light")
        port, upstream = free_port(), self.peers.upstream.server_port
        (self.scratch / "token.conf").write_text(
            'proxy_set_header Authorization "Bearer token-of-the-test";\n'
        )
        config = self.adapted(
            "nginx.conf",
            (f"https://{UPSTREAM}/", f"https://localhost:{upstream}/"),
            (AUTHORITIES, str(self.scratch / "tls.crt")),
            ("127.0.0.1:8080", f"127.0.0.1:{port}"),
        )
        # One process, so that nothing is left of it once it is killed.
        flags = f"daemon off; master_process off; pid {self.scratch}/nginx.pid; error_log stderr;"
        host = self.does_the_job(port, nginx, "-p", str(self.scratch), "-c", config, "-g", flags)
        self.assertEqual(host, UPSTREAM)

    def envoy(self, port, provider):
        upstream = self.peers.upstream.server_port
        config = self.adapted(
            "envoy.yaml",
            (f"address: {UPSTREAM}, port_value: 443", f"address: 127.0.0.1, port_value: {upstream}"),
            (f"address: {PROVIDER}, port_value: 443", f"address: 127.0.0.1, port_value: {provider}"),
            (AUTHORITIES, str(self.scratch / "tls.crt")),
            ("port_value: 8080", f"port_value: {port}"),
            ("/run/secrets/envase/client-secret", str(self.scratch / "client-secret")),
        )
        flags = ["--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warning"]
        return [os.environ["ENVOY"], "-c", config, *flags]

    def test_envoy(self):
        port = free_port()
        host = self.does_the_job(port, *self.envoy(port, self.peers.upstream.server_port))
        self.assertEqual(host, UPSTREAM)

    def gatepass(self, port, provider):
        admin, upstream = free_port(), self.peers.upstream.server_port
        provider = f'token_endpoint = "https://localhost:{provider}/oauth2/token"\n'
        trusted = f'tls = {{ ca_file = "{self.scratch}/tls.crt" }}\n'
        config = self.adapted(
            "gatepass.toml",
            ('preset = "envase"\n', f'preset = "envase"\n{provider}{trusted}'),
            (f"https://{UPSTREAM}", f"https://localhost:{upstream}"),
            ("strip_path = true\n", f"strip_path = true\n{trusted}"),
            ("/run/secrets/envase/client-secret", str(self.scratch / "client-secret")),
        )
        listen = ["--listen", f"127.0.0.1:{port}", "--admin-listen", f"127.0.0.1:{admin}"]
        return [GATEPASS, "run", "--config", config, *listen]

    def test_gatepass(self):
        port, upstream = free_port(), self.peers.upstream.server_port
        host = self.does_the_job(port, *self.gatepass(port, upstream))
        self.assertEqual(host, f"localhost:{upstream}")

    def test_a_request_without_a_token_is_whose_mistake(self):
        for proxy, expected in ((self.envoy, 401), (self.gatepass, 503)):
            # Nobody answers where the provider should be.
            port = free_port()
            self.start(*proxy(port, free_port()))
            self.assertEqual(first_status(f"http://127.0.0.1:{port}/connect/events"), expected)
            self.assertIsNone(self.peers.seen)


def first_status(address):
    """The status of the first answer, once something listens."""
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                return answer.status
        except urllib.error.HTTPError as answer:
            return answer.code
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
