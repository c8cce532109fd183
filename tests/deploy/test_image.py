"""The image as its Dockerfile makes it, and what it does as a pod: answers and drains. Built by buildah and run by podman with runc, for no engine is needed for these.

The base of the build is not fetched: this machine's own compiler, toolchain and crates are mounted into
an empty one. So the steps are the Dockerfile's, and the profile is `dev` instead of `release`."""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.request

import yaml

from peers import Peers, answers
from rendered import PROJECT, output, plain, sidecar

IMAGE = "localhost/gatepass:test"
# What containers here may not raise: the limits that a process may set alone.
LIMITS = '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n'


class Image(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        for tool, package in (("buildah", "buildah"), ("podman", "podman"), ("runc", "runc")):
            if not shutil.which(tool):
                raise AssertionError(f"{tool} is not installed: install {package}")
        cls.scratch = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        limits = cls.scratch / "containers.conf"
        limits.write_text(LIMITS)
        cls.enterClassContext(environment(CONTAINERS_CONF=limits, STORAGE_DRIVER="vfs"))
        cls.addClassCleanup(buildah, cls.scratch, "rm", "--all")
        build(cls.scratch)

    def podman(self, *arguments):
        return output(podman(self.scratch, *arguments))

    def test_it_holds_what_it_says(self):
        [about] = json.loads(self.podman("image", "inspect", IMAGE))
        config = about["Config"]
        self.assertEqual(config["User"], "65532:65532")
        self.assertEqual(config["Entrypoint"], ["/gatepass"])
        self.assertEqual(config["Cmd"], ["run"])
        settings = [one for one in config["Env"] if not one.startswith("PATH=")]
        self.assertEqual(settings, ["MIMALLOC_ALLOW_THP=0"])
        self.assertNotIn("ExposedPorts", config)
        labels = config["Labels"]
        for label in ("title", "description", "licenses", "version", "revision"):
            self.assertTrue(labels[f"org.opencontainers.image.{label}"], label)
        self.assertEqual(
            about["Healthcheck"]["Test"], ["CMD", "/gatepass", "wait", "--timeout", "1s"]
        )
        container = buildah(self.scratch, "from", IMAGE).strip()
        root = pathlib.Path(buildah(self.scratch, "mount", container).strip())
        files = {str(file.relative_to(root)) for file in root.rglob("*") if file.is_file()}
        self.assertEqual(files, {"gatepass", "etc/ssl/certs/ca-certificates.crt"})

    def test_a_pod_answers_and_drains(self):
        with Peers(self.scratch) as peers, self.pod(peers) as admin:
            request = urllib.request.Request(peers.proxy + "/slow")
            request.add_header("Authorization", "Bearer the-caller-s-own")
            asked = peers.ask(request)
            peers.asked.wait(30)
            # The request is under way: stopping waits for it.
            stopped = subprocess.Popen(podman(self.scratch, "stop", "-t", "20", "it-gatepass"))
            refused(admin + "/readyz")
            peers.release.set()
            self.assertEqual(asked.result(30), (200, b"hello"))
            stopped.wait(30)
            self.assertEqual(peers.authorization, "Bearer token-of-the-test")
            [state] = json.loads(self.podman("inspect", "it-gatepass"))
            self.assertEqual(state["State"]["ExitCode"], 0)

    @contextlib.contextmanager
    def pod(self, peers):
        """The pod of `sidecar.yaml`, with the application left out: it is this test. podman has no
        native sidecars, so gatepass is a container like others."""
        _, pod = plain("deploy/kubernetes/sidecar.yaml")
        container = sidecar([pod])
        container["image"] = IMAGE
        # Nor does it forward ports on the machine's own network.
        del container["restartPolicy"], container["ports"]
        settings = {one["name"]: one for one in container["env"]}
        settings["GATEPASS__PROXY__LISTEN"]["value"] = peers.proxy.removeprefix("http://")
        settings["GATEPASS__ADMIN__LISTEN"]["value"] = peers.admin.removeprefix("http://")
        pod["metadata"]["name"] = "it"
        pod["spec"] |= {"initContainers": [], "containers": [container], "restartPolicy": "Never"}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            del container[probe]
        pod["spec"]["hostNetwork"] = True
        resolver = {"name": "resolver", "mountPath": "/etc/resolv.conf", "readOnly": True}
        container["volumeMounts"].append(resolver)
        # As kubelet would mount them: root's, for its group alone.
        mounted = {"gatepass-config": peers.configuration(), "gatepass-secret": {"client-secret": "s"}}
        for volume in pod["spec"]["volumes"]:
            directory = self.scratch / volume["name"]
            directory.mkdir(exist_ok=True)
            directory.chmod(0o755)
            for name, content in mounted[volume["name"]].items():
                (directory / name).write_text(content)
                (directory / name).chmod(0o440)
            volume.clear()
            volume |= {"name": directory.name, "hostPath": {"path": str(directory)}}
        resolver = str(self.scratch / "gatepass-config" / "resolv.conf")
        pod["spec"]["volumes"].append({"name": "resolver", "hostPath": {"path": resolver}})
        self.scratch.chmod(0o755)
        manifest = self.scratch / "pod.yaml"
        manifest.write_text(yaml.safe_dump(pod))
        self.podman("play", "kube", "--network", "host", str(manifest))
        try:
            answers(peers.admin + "/readyz", lambda: self.podman("logs", "it-gatepass"))
            yield peers.admin
        finally:
            self.podman("play", "kube", "--down", str(manifest))


def build(scratch):
    """Runs every step of the Dockerfile in a base that has nothing but mounts."""
    home = pathlib.Path.home()
    cargo = pathlib.Path(os.environ.get("CARGO_HOME", home / ".cargo"))
    rustup = pathlib.Path(os.environ.get("RUSTUP_HOME", home / ".rustup"))
    toolchain = output(["rustc", "--print", "sysroot"]).strip()
    base = buildah(scratch, "from", "scratch").strip()
    root = pathlib.Path(buildah(scratch, "mount", base).strip())
    for directory in ("usr", "etc", "tmp", "root", "toolchain", "cargo"):
        (root / directory).mkdir()
    for link in ("bin", "lib", "lib64", "sbin"):
        (root / link).symlink_to(f"usr/{link}")
    path = "/toolchain/bin:/usr/bin:/bin"
    for setting in (f"PATH={path}", "HOME=/root", "CARGO_HOME=/cargo", "CARGO_NET_OFFLINE=true"):
        buildah(scratch, "config", "--env", setting, base)
    buildah(scratch, "commit", "--quiet", base, "localhost/base")
    buildah(scratch, "umount", base)
    mounts = {toolchain: "/toolchain", str(cargo): "/cargo"}
    mounts |= {one: one for one in ("/usr", "/etc/alternatives", "/etc/ssl")}
    volumes = []
    for source, target in mounts.items():
        volumes += ["--volume", f"{source}:{target}"]
    # What was built stays for the next run.
    built = PROJECT / "target/image"
    built.mkdir(parents=True, exist_ok=True)
    volumes += ["--volume", f"{built}:/gatepass/target"]
    arguments = []
    for argument in ("RUST=localhost/base", "PROFILE=dev"):
        arguments += ["--build-arg", argument]
    buildah(
        scratch,
        *("build", "--isolation", "chroot", "--format", "docker", "--pull-never"),
        *(*volumes, *arguments, "--tag", IMAGE, "--file", "deploy/image/Dockerfile", "."),
    )


def buildah(scratch, *arguments):
    # The build compiles everything.
    return output(["buildah", *stores(scratch), *arguments], patience=900)


def podman(scratch, *arguments):
    return ["podman", *stores(scratch), "--cgroup-manager", "cgroupfs", "--runtime", "runc", *arguments]


def stores(scratch):
    """Nothing is left of images and containers when the folder is gone."""
    return ["--root", str(scratch / "root"), "--runroot", str(scratch / "run")]


@contextlib.contextmanager
def environment(**settings):
    before = dict(os.environ)
    os.environ.update({name: str(value) for name, value in settings.items()})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def refused(address):
    """Waits until it is answered with an error."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(address, timeout=5):
                time.sleep(0.05)
        except urllib.error.HTTPError:
            return
    raise AssertionError(f"{address} still answers with 200")
