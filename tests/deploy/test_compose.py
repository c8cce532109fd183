"""The compose file, as docker-compose reads it."""

import tomllib
import unittest

import yaml

from rendered import PROJECT, output

FOLDER = PROJECT / "deploy/compose"


class Compose(unittest.TestCase):
    def test_it_is_understood_and_keeps_its_promises(self):
        told = yaml.safe_load(output(["docker-compose", "--file", FOLDER / "compose.yaml", "config"]))
        gatepass = told["services"]["gatepass"]
        application = told["services"]["application"]
        self.assertEqual(application["network_mode"], "service:gatepass")
        self.assertEqual(
            application["depends_on"], {"gatepass": {"condition": "service_healthy"}}
        )
        # Nobody else reaches the listener: no port is published, and it stays on loopback.
        self.assertNotIn("ports", gatepass)
        config = tomllib.loads((FOLDER / "gatepass.toml").read_text())
        self.assertNotIn("proxy", config)
        self.assertNotIn("environment", gatepass)
        self.assertNotIn("command", gatepass)
        self.assertTrue(gatepass["read_only"])
        self.assertEqual(gatepass["cap_drop"], ["ALL"])
        self.assertEqual(gatepass["security_opt"], ["no-new-privileges:true"])
        [secret] = gatepass["secrets"]
        [credential] = config["credentials"].values()
        self.assertEqual(credential["client_secret_file"], f"/run/secrets/{secret['source']}")
        self.assertEqual(gatepass["volumes"], [f"{FOLDER}/gatepass.toml:/etc/gatepass/gatepass.toml:ro"])
