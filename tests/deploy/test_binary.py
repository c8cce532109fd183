"""The binary that is released, on a machine that is not the one it was built on."""

import pathlib
import platform
import subprocess
import tempfile
import unittest

from rendered import GATEPASS, output

# What a module of the machine does when it is loaded. One of another C library's version would end
# the process instead.
MODULE = """
#include <fcntl.h>
#include <stdlib.h>
__attribute__((constructor)) static void loaded(void) { creat(getenv("LOADED"), 0600); }
"""
CONFIGURATION = """
[credentials.a]
token_endpoint = "https://id.invalid/token"
client_id = "it"
client_secret = "s"
[[routes]]
path = "/"
upstream = "https://api.invalid"
credential = "a"
"""


class Binary(unittest.TestCase):
    def setUp(self):
        self.scratch = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))

    @unittest.skipUnless(platform.machine() == "x86_64", "only here is it known what requests do not meet")
    def test_it_is_no_larger_than_promised(self):
        size = pathlib.Path(GATEPASS).stat().st_size
        self.assertLessEqual(size, 10_000_000, "if much has got another name, run benches/compare/profile")

    def test_it_loads_no_module_of_the_machine(self):
        (self.scratch / "module.c").write_text(MODULE)
        module = self.scratch / "libnss_stranger.so.2"
        output(["cc", "-shared", "-fPIC", "-o", str(module), str(self.scratch / "module.c")])
        (self.scratch / "nsswitch.conf").write_text("hosts: stranger files\n")
        # That the machine's own programs load it says that it could be found.
        self.looked_up("getent", "hosts", "id.invalid")
        self.assertTrue((self.scratch / "loaded").exists())
        (self.scratch / "loaded").unlink()

        config = self.scratch / "gatepass.toml"
        config.write_text(CONFIGURATION)
        said = self.looked_up(GATEPASS, "token", "a", "--config", str(config))
        self.assertIn("Name or service not known", said)
        self.assertFalse((self.scratch / "loaded").exists())

    def looked_up(self, *command):
        """What a command says that looks up a name nobody has, where the module is to be asked."""
        mount = 'mount --bind "$0" /etc/nsswitch.conf; exec "$@"'
        ended = subprocess.run(
            ["unshare", "--map-root-user", "--mount", "sh", "-ec", mount]
            + [str(self.scratch / "nsswitch.conf"), *command],
            env={
                "PATH": "/usr/bin:/bin",
                "LD_LIBRARY_PATH": str(self.scratch),
                "LOADED": str(self.scratch / "loaded"),
            },
            capture_output=True,
            text=True,
            timeout=30,
        )
        self.assertGreater(ended.returncode, 0, ended.stderr)
        return ended.stdout + ended.stderr
