"""What `helm` says to values that are wrong."""

import contextlib
import pathlib
import re
import shutil
import tempfile
import unittest

from rendered import PROJECT, chart, configuration


class Values(unittest.TestCase):
    def refused(self, *flags, helm=PROJECT / "deploy/helm"):
        with self.assertRaises(AssertionError) as refusal:
            chart(*flags, helm=helm)
        return str(refusal.exception)

    def test_mistakes_are_told(self):
        self.assertIn("gatepass.config: there is none", self.refused("--set", "gatepass.config="))
        self.assertIn("/secretName", self.refused("--set", "gatepass.secretName=My Secret"))
        self.assertIn("secretNames", self.refused("--set", "gatepass.secretNames=other"))
        for elsewhere in ("0.0.0.0:8080", "127.0.0.1", "[::]:8080"):
            self.assertIn("/listen", self.refused("--set", f"gatepass.listen={elsewhere}"))
        # The kubelet would not reach it.
        admin = "gatepass.adminListen=127.0.0.1:9090"
        self.assertIn("/adminListen", self.refused("--set", admin))
        for pinned in ("registry.example/gatepass@sha256:0", "registry.example/gatepass:0.1.0"):
            self.assertIn("/image/repository", self.refused("--set", f"gatepass.image.repository={pinned}"))
        told = self.refused("--set", "gatepass.image.tag=latest")
        self.assertIn("gatepass.image.tag: latest is another image tomorrow", told)

    def test_a_cluster_without_sidecars_is_refused(self):
        # Helm takes a library for good whatever its kubeVersion, and a chart by its own.
        self.assertIn("requires kubeVersion: >=1.29", self.refused("--kube-version", "1.28.9"))
        self.assertTrue(chart("--kube-version", "1.29.3-eks-adc7111"))
        with self.changed("Chart.yaml", 'kubeVersion: ">=1.29.0-0"\n', "") as helm:
            told = self.refused("--kube-version", "1.28.9", helm=helm)
        self.assertIn("for Kubernetes >=1.29.0-0, and this is v1.28.9", told)

    def test_an_alias_is_told(self):
        source = "repository: file://../gatepass\n"
        with self.changed("Chart.yaml", source, f"{source}    alias: proxy\n") as helm:
            self.assertIn("takes no alias", self.refused(helm=helm))

    @contextlib.contextmanager
    def changed(self, file, old, new):
        """The charts, with a file of the example changed."""
        with tempfile.TemporaryDirectory() as copied:
            copied = pathlib.Path(copied, "helm")
            shutil.copytree(PROJECT / "deploy/helm", copied)
            text = (copied / "example" / file).read_text()
            self.assertEqual(text.count(old), 1)
            (copied / "example" / file).write_text(text.replace(old, new))
            yield copied

    def with_configuration(self, config):
        file = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()), "gatepass.toml")
        file.write_text(config)
        return "--set-file", f"gatepass.config={file}"

    def test_a_configuration_begins_as_it_likes(self):
        config = "\n  # a line that is indented, and one that is not\n[proxy]\nworkers = 1\n"
        self.assertEqual(configuration(chart(*self.with_configuration(config))), config)

    def test_a_secret_in_the_configuration_is_refused(self):
        self.assertGreaterEqual(
            secret_keys(), {"client_secret", "sentinel_password", "api_key", "key"}
        )
        for config in (
            *(f'[credentials.a]\n{key} = "s"\n' for key in sorted(secret_keys())),
            'credentials.a.client_secret = "s"',
            'a = { client_id = "a#b", client_secret = "s" }',
            "[credentials]\na = { client_secret='s' }",
            '\t"client_secret" = """\ns"""',
            "'password'= \"s\"",
            '[routes.headers]\nX-Api-Key = "s"',
            '[credentials.a.parameters]\nkey = "a"\n\n[proxy.callers]\nkey = "s"',
            'parameters = { key = "a", api_key = "s" }',
            'parameters = { a = "b" }\nkey = "s"',
            'CLIENT_SECRET = "s"',
            'parameters = { signing_key = "s" }',
            '[stores.a]\nurl = "redis://u:p@h"',
            '[stores.a]\nurl = [\n  "rediss://:p@h:6379",\n]',
        ):
            with self.subTest(config=config):
                told = self.refused(*self.with_configuration(config))
                self.assertRegex(told, "gatepass.config: (a string for|an address has)")
                self.assertIn("/run/secrets/gatepass", told)

    def test_what_only_resembles_a_secret_is_admitted(self):
        config = """
            # client_secret = "…" has no place here, nor has redis://user:password@host
            [credentials.a] # api_key = "…"
            client_id = "key = 'a'"
            client_secret_file = "/run/secrets/gatepass/client-secret"
            previous_client_secret_env = "PREVIOUS"
            private_key_id = "a"
            grant_type = "password"
            token_endpoint = "https://id.example:8443/token"
            audience = "mailto://somebody@id.example"
            parameters = { api_key = { file = "/run/secrets/gatepass/key" }, key = "public" }
            sort_key = "a"
            [credentials.b]
            parameters.key = "public"
            [credentials.c.parameters] # of which
            a = "b"

            # one is
            key = "public"
            [proxy.callers]
            key_header = "x-key"
            [stores.a]
            url = "redis://user@store.example:6379"
        """
        found = chart(*self.with_configuration(config))
        self.assertIn("PREVIOUS", configuration(found))


def secret_keys():
    """The keys for a secret itself: those that may be a file or a variable instead."""
    page = (PROJECT / "docs/configuration.md").read_text()
    keys = set(re.findall(r"(?m)^\| `(?:\w+\.|\w+\[\]\.)*(\w+)` \|", page))
    return {key for key in keys if {f"{key}_file", f"{key}_env"} <= keys}
