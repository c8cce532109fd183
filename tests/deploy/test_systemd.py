"""The units, as systemd's own tools see them."""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest
import urllib.request

from peers import free_port
from test_documentation import commands
from rendered import GATEPASS, PROJECT, output

UNITS = PROJECT / "deploy/systemd"
# `systemd-analyze security` counts from 0 (nothing can be reached) to 10.
EXPOSED_AT_MOST = 2.0


class Units(unittest.TestCase):
    def setUp(self):
        self.directory = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        shutil.copytree(UNITS, self.directory, dirs_exist_ok=True)
        self.unit = self.directory / "gatepass.service"
        text = self.unit.read_text().replace("/usr/local/bin/gatepass", GATEPASS)
        self.unit.write_text(text)

    def test_systemd_understands_them(self):
        self.assertEqual(verified(self.unit, self.directory / "gatepass.socket"), "")
        drop_in = self.directory / "gatepass.service.d/socket.conf"
        self.assertTrue(drop_in.exists())
        # A mistake is told: otherwise there is nothing in silence.
        drop_in.write_text("[Service]\nEnvironmental=no\n")
        self.assertIn("Environmental", verified(self.unit))

    def test_little_is_exposed(self):
        security = ["systemd-analyze", "security", "--offline=true", "--no-pager"]
        told = output([*security, f"--threshold={EXPOSED_AT_MOST * 10:.0f}", self.unit])
        [score] = re.findall(r"Overall exposure level for gatepass.service: ([0-9.]+)", told)
        self.assertLess(float(score), EXPOSED_AT_MOST, told)
        print(f"exposure: {score}")

    def test_the_secret_is_for_root_alone(self):
        root = self.directory / "root"
        secret = root / "etc/gatepass/client-secret"
        (root / "etc").mkdir(parents=True)
        output(["systemd-sysusers", f"--root={root}", self.directory / "sysusers.conf"])
        self.assertRegex((root / "etc/passwd").read_text(), r"(?m)^gatepass:.*:/usr/sbin/nologin$")
        create = ["systemd-tmpfiles", "--create", f"--root={root}", self.directory / "tmpfiles.conf"]
        output(create)
        self.assertEqual((root / "etc/gatepass").stat().st_mode & 0o777, 0o755)
        # One that was written for all to read is narrowed.
        secret.write_text("s")
        secret.chmod(0o644)
        output(create)
        self.assertEqual(secret.stat().st_mode & 0o777, 0o600)

    def test_the_secret_is_loaded_where_that_is_asked_for(self):
        text = self.unit.read_text()
        load = "LoadCredential=client-secret:/etc/gatepass/client-secret"
        self.assertIn(f"\n# {load}\n", text)
        self.unit.write_text(text.replace(f"# {load}", load))
        self.assertEqual(verified(self.unit), "")

    def test_the_guide_installs_what_starts(self):
        root = self.directory / "root"
        (root / "etc").mkdir(parents=True)
        checkout = self.directory / "checkout"
        shutil.copytree(PROJECT / "deploy", checkout / "deploy")
        for file in ("target/release/gatepass", "gatepass.toml", "secrets/client-secret"):
            (checkout / file).parent.mkdir(parents=True, exist_ok=True)
            (checkout / file).write_text("")
        steps = commands(PROJECT / "docs/getting-started.md")
        steps = [step.removeprefix("sudo ") for step in steps if step.startswith("sudo ")]
        for step in steps:
            output(["bash", "-ec", below(step, root)], checkout)
        unit = root / "etc/systemd/system/gatepass.service"
        [load] = re.findall("(?m)^LoadCredential=(.*)$", unit.read_text())
        name, secret = load.split(":")
        self.assertEqual((root / secret.lstrip("/")).stat().st_mode & 0o777, 0o600)
        start = "(?m)^ExecStart=(\\S+) run --config (\\S+)$"
        [(binary, config)] = re.findall(start, unit.read_text())
        self.assertEqual((root / binary.lstrip("/")).stat().st_mode & 0o777, 0o755)
        self.assertEqual((root / config.lstrip("/")).stat().st_mode & 0o777, 0o644)
        self.assertTrue((unit.parent / "multi-user.target.wants/gatepass.service").is_symlink())
        guide = (PROJECT / "docs/getting-started.md").read_text()
        self.assertIn(f"/run/credentials/gatepass.service/{name}`", guide)

    def test_it_is_given_up_for_a_mistake_alone(self):
        unit, _, service = self.unit.read_text().partition("[Service]")
        # Otherwise five ends within ten seconds are the last.
        self.assertIn("\nStartLimitIntervalSec=0\n", unit)
        [codes] = re.findall("(?m)^RestartPreventExitStatus=(.*)$", service)
        (self.directory / "gatepass.toml").write_text("[[routes]]\n")
        mistakes = (["run", "--no-such-flag"], ["run"])
        for mistake, code in zip(mistakes, codes.split(), strict=True):
            ended = subprocess.run(
                [GATEPASS, *mistake],
                cwd=self.directory,
                stderr=subprocess.DEVNULL,
                timeout=60,
                check=False,
            )
            self.assertEqual(ended.returncode, int(code))

    def test_a_reload_is_told_to_systemd(self):
        (self.directory / "gatepass.toml").write_text(configuration(free_port(), free_port()))
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(manager.close)
        manager.settimeout(60)
        manager.bind(str(self.directory / "notify"))
        serving = subprocess.Popen(
            [GATEPASS, "run"],
            cwd=self.directory,
            env=os.environ | {"NOTIFY_SOCKET": str(self.directory / "notify")},
            stderr=subprocess.DEVNULL,
        )
        self.addCleanup(serving.wait)
        self.addCleanup(serving.kill)
        self.assertEqual(manager.recv(4096), b"READY=1\n")
        [reload] = re.findall("(?m)^ExecReload=(.*)$", self.unit.read_text())
        output(reload.replace("$MAINPID", str(serving.pid)).split())
        self.assertTrue(manager.recv(4096).startswith(b"RELOADING=1\n"))
        self.assertEqual(manager.recv(4096), b"READY=1\n")

    def test_a_socket_is_taken_over(self):
        port, admin = free_port(), free_port()
        drop_in = (self.directory / "gatepass.service.d/socket.conf").read_text()
        [setting] = re.findall("(?m)^Environment=(.*)$", drop_in)
        (self.directory / "gatepass.toml").write_text(configuration(port, admin))
        activate = ["systemd-socket-activate", f"--listen=127.0.0.1:{port}", f"--setenv={setting}"]
        activated = subprocess.Popen(
            [*activate, GATEPASS, "run"],
            cwd=self.directory,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(activated.stderr.close)
        self.addCleanup(activated.wait)
        self.addCleanup(activated.kill)
        self.assertIn("Listening", activated.stderr.readline())
        # The first request starts it, and is answered: by its own admin listener, behind a route.
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=60) as answer:
            self.assertEqual(answer.status, 200)
        activated.send_signal(signal.SIGTERM)
        self.assertEqual(activated.wait(30), 0)


def configuration(proxy, admin):
    """One that needs nobody else: its own admin listener, behind a route."""
    return (
        f'[proxy]\nlisten = "127.0.0.1:{proxy}"\n[admin]\nlisten = "127.0.0.1:{admin}"\n'
        f'[[routes]]\npath = "/"\nupstream = "http://127.0.0.1:{admin}"\ncredential = "none"\n'
    )


def below(step, root):
    """The step of an installation, into a directory instead of the machine."""
    for tool in ("systemctl", "systemd-tmpfiles"):
        if step.startswith(f"{tool} "):
            # Nothing runs there that could be started.
            return step.replace(tool, f"{tool} --root={root}").replace(" --now", "")
    return step.replace(" /", f" {root}/")


def verified(*units):
    """What `systemd-analyze verify` has to say of them."""
    finished = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # The machine's own units are looked at as well.
    return "".join(line for line in finished.stderr.splitlines(True) if "gatepass" in line)
