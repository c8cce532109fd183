"""Manifests as the tools of their users render them."""

import functools
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

import kubernetes_validate
import yaml

PROJECT = pathlib.Path(__file__).resolve().parents[2]
GATEPASS = os.environ["GATEPASS"]
VALUES = pathlib.Path(__file__).parent / "values"


@functools.cache
def everything():
    """All ways to a sidecar that stand in deploy/."""
    return {
        "kustomize": kustomization("deploy/kubernetes/example"),
        "job": kustomization("deploy/kubernetes/job"),
        "helm": chart(),
        "helm, narrowed": chart("--values", VALUES / "narrowed.yaml"),
        "helm, bare": chart("--values", VALUES / "bare.yaml"),
        "plain": plain("deploy/kubernetes/sidecar.yaml"),
    }


def output(command, directory=PROJECT, patience=120):
    """What a command prints. A failure shows what it said."""
    with subprocess.Popen(
        command,
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            stdout, stderr = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            # With all that it has started.
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode != 0:
        raise AssertionError(
            f"{command} ended with {process.returncode}:\n{stdout}{stderr}"
        )
    return stdout


def kustomization(directory):
    return objects(output(["kubectl", "kustomize", directory]))


def chart(*flags, helm=PROJECT / "deploy/helm"):
    """The example's chart, in a copy, since helm puts what it depends on beside it."""
    with tempfile.TemporaryDirectory() as copy:
        copy = pathlib.Path(copy, "helm")
        shutil.copytree(helm, copy)
        output(["helm", "dependency", "build"], copy / "example")
        output(["helm", "lint", "--strict", ".", *flags], copy / "example")
        return objects(output(["helm", "template", "it", ".", *flags], copy / "example"))


def kustomized(manifests, *lines):
    """What becomes of these manifests in a kustomization with these lines."""
    with tempfile.TemporaryDirectory(dir=PROJECT / "deploy/kubernetes") as directory:
        directory = pathlib.Path(directory)
        (directory / "application.yaml").write_text(yaml.safe_dump_all(manifests))
        lines = ("resources: [application.yaml]", *lines)
        (directory / "kustomization.yaml").write_text("\n".join(lines))
        return kustomization(directory)


def plain(file):
    return objects((PROJECT / file).read_text())


def objects(text):
    """The objects of a stream of YAML, each valid against the schemas of Kubernetes, if it is of its own."""
    found = [found for found in yaml.safe_load_all(text) if found]
    for one in found:
        if one["apiVersion"].startswith("monitoring.coreos.com/"):
            continue
        for version in ("1.29", "1.35"):
            kubernetes_validate.validate(one, version, strict=True)
    return found


def only(kind, found):
    [one] = [one for one in found if one["kind"] == kind]
    return one


def workload(found):
    [one] = [one for one in found if one["kind"] in ("Deployment", "Job", "Pod")]
    return one


def pod(found):
    """The pod, or the template of pods: metadata and spec."""
    one = workload(found)
    return one if one["kind"] == "Pod" else one["spec"]["template"]


def sidecar(found):
    [container] = [
        one for one in pod(found)["spec"]["initContainers"] if one["name"] == "gatepass"
    ]
    return container


def configuration(found):
    return only("ConfigMap", found)["data"]["gatepass.toml"]
