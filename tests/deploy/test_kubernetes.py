"""A legacy application with a sidecar, by Kustomize, by Helm and by hand: the promises of each."""

import copy
import ipaddress
import pathlib
import re
import subprocess
import tempfile
import tomllib
import unittest

import yaml

from rendered import (
    GATEPASS,
    PROJECT,
    chart,
    configuration,
    everything,
    kustomization,
    kustomized,
    only,
    plain,
    pod,
    sidecar,
    workload,
)
from restricted import violations


class Promises(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.rendered = everything()

    def each(self):
        return self.rendered.values()

    def test_five_lines_are_enough(self):
        lines = (PROJECT / "deploy/kubernetes/example/kustomization.yaml").read_text()
        self.assertEqual(len(lines.splitlines()), 5)
        self.assertIn(f"```yaml\n{lines}```", (PROJECT / "README.md").read_text())

    def test_the_application_is_as_it_was(self):
        found = kustomization("deploy/kubernetes/example")
        [before] = plain("deploy/kubernetes/example/application.yaml")
        after = workload(found)
        self.assertEqual(after["spec"]["selector"], before["spec"]["selector"])
        for key, value in before["spec"]["template"]["spec"].items():
            self.assertEqual(after["spec"]["template"]["spec"][key], value)

    def test_it_starts_first_and_stops_last(self):
        for found in self.each():
            self.assertEqual(pod(found)["spec"]["initContainers"][0], sidecar(found))
            self.assertEqual(sidecar(found)["restartPolicy"], "Always")

    def test_init_containers_of_the_application_come_after_it(self):
        with tempfile.TemporaryDirectory(dir=PROJECT / "deploy/kubernetes") as directory:
            directory = pathlib.Path(directory)
            for kind in ("Deployment", "StatefulSet", "DaemonSet"):
                legacy = plain("deploy/kubernetes/example/application.yaml")[0]
                spec = legacy["spec"]["template"]["spec"]
                spec["initContainers"] = [copy.deepcopy(spec["containers"][0]) | {"name": "migrate"}]
                legacy["kind"] = kind
                if kind == "StatefulSet":
                    legacy["spec"]["serviceName"] = "application"
                (directory / "application.yaml").write_text(yaml.safe_dump(legacy))
                (directory / "kustomization.yaml").write_text(
                    "resources: [application.yaml]\ncomponents: [../sidecar]\n"
                )
                [found] = kustomization(directory)
                names = [one["name"] for one in found["spec"]["template"]["spec"]["initContainers"]]
                self.assertEqual(names, ["gatepass", "migrate"], kind)

    def test_a_cron_job_gets_what_a_job_gets(self):
        [job] = plain("deploy/kubernetes/job/job.yaml")
        cron_job = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": job["metadata"]}
        cron_job["spec"] = {"schedule": "@daily", "jobTemplate": {"spec": job["spec"]}}
        rendered = kustomized([job, cron_job], "components: [../sidecar, ../prometheus]")
        expected = only("Job", rendered)["spec"]
        self.assertEqual(only("CronJob", rendered)["spec"]["jobTemplate"]["spec"], expected)
        self.assertIn("initContainers", expected["template"]["spec"])
        self.assertIn("prometheus.io/port", expected["template"]["metadata"]["annotations"])

    def test_who_is_not_to_have_it_says_so(self):
        [application] = plain("deploy/kubernetes/example/application.yaml")
        database = copy.deepcopy(application)
        database["metadata"] = {"name": "database", "annotations": {"gatepass": "none"}}
        found = kustomized([application, database], "components: [../sidecar, ../prometheus]")
        self.assertIn(database, found)
        [beside] = [one for one in found if one["metadata"]["name"] == "application"]
        self.assertIn("initContainers", beside["spec"]["template"]["spec"])

    def test_the_image_comes_from_where_the_guide_says(self):
        guide = (PROJECT / "docs/getting-started.md").read_text()
        [images] = re.findall(r"(?s)```yaml\n(images:.*?)```", guide)
        manifests = plain("deploy/kubernetes/example/application.yaml")
        found = kustomized(manifests, "components: [../sidecar]", images)
        image = sidecar(found)["image"]
        self.assertRegex(image, r"^registry\.example/gatepass:\d+\.\d+\.\d+$")
        self.assertIn(f"docker push {image}\n", guide)

    def test_a_namespace_is_named_as_the_guide_says(self):
        guide = (PROJECT / "docs/getting-started.md").read_text()
        [line] = re.findall(r"`(namespace: )NAME`", guide)
        example = (PROJECT / "deploy/kubernetes/example/kustomization.yaml").read_text()
        _, *lines = example.replace("files: [gatepass.toml]", "literals: [gatepass.toml=]").splitlines()
        [application] = plain("deploy/kubernetes/example/application.yaml")
        application["metadata"]["namespace"] = "legacy"
        found = kustomized([application], *lines, line + "legacy")
        self.assertEqual({one["metadata"]["namespace"] for one in found}, {"legacy"})
        volumes = {one["name"]: one for one in pod(found)["spec"]["volumes"]}
        mounted = volumes["gatepass-config"]["configMap"]["name"]
        self.assertEqual(mounted, only("ConfigMap", found)["metadata"]["name"])

    def test_the_restricted_profile_admits_it(self):
        for found in self.each():
            self.assertEqual(violations(pod(found)["spec"]), [])
            self.assertTrue(sidecar(found)["securityContext"]["readOnlyRootFilesystem"])

    def test_openshift_chooses_the_user(self):
        """restricted-v2 admits users of the namespace alone, and says nothing of groups."""
        [application] = plain("deploy/kubernetes/example/application.yaml")
        [job] = plain("deploy/kubernetes/job/job.yaml")
        cron_job = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c"}}
        cron_job["spec"] = {"schedule": "@daily", "jobTemplate": {"spec": job["spec"]}}
        expected = sidecar(self.rendered["kustomize"])["securityContext"]
        expected = {name: value for name, value in expected.items() if name != "runAsUser"}
        components = "components: [../sidecar, ../openshift]"
        found = kustomized([application, cron_job], components)
        inner = only("CronJob", found)["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        chosen = chart("--set", "gatepass.openshift=true")
        for context in (
            sidecar(found)["securityContext"],
            inner["initContainers"][0]["securityContext"],
            sidecar(chosen)["securityContext"],
        ):
            self.assertEqual(context, expected)
        names, _ = only("NetworkPolicy", chosen)["spec"]["egress"]
        self.assertEqual({one["port"] for one in names["ports"]}, {5353})
        [servers] = names["to"]
        self.assertIn("openshift-dns", servers["namespaceSelector"]["matchLabels"].values())

    def test_the_check_of_the_profile_can_fail(self):
        spec = pod(self.rendered["plain"])["spec"]
        for spoil, word in (
            (lambda it: it.update(hostNetwork=True), "hostNetwork"),
            (lambda it: it["volumes"].append({"name": "h", "hostPath": {"path": "/"}}), "hostPath"),
            (lambda it: it["initContainers"][0].pop("securityContext"), "runAsNonRoot"),
            (lambda it: it["containers"][0]["securityContext"].pop("capabilities"), "capabilities"),
        ):
            spoilt = copy.deepcopy(spec)
            spoil(spoilt)
            self.assertIn(word, " ".join(violations(spoilt)))

    def test_applications_call_on_loopback_alone(self):
        for found in self.each():
            container = sidecar(found)
            # The listener is no container port: nobody is invited.
            self.assertEqual([port["containerPort"] for port in container["ports"]], [9090])
            settings = {one["name"]: one["value"] for one in container["env"]}
            host, _, _ = settings["GATEPASS__PROXY__LISTEN"].rpartition(":")
            self.assertTrue(ipaddress.ip_address(host).is_loopback)
            # And that goes over whatever the file says.
            config = '[proxy]\nlisten = "0.0.0.0:8080"\n' + configuration(found)
            self.assertIn(settings["GATEPASS__PROXY__LISTEN"], checked(config, settings))

    def test_both_listeners_can_be_elsewhere(self):
        guide = (PROJECT / "docs/getting-started.md").read_text()
        [patches] = re.findall(r"(?s)```yaml\n(patches:.*?)```", guide)
        manifests = plain("deploy/kubernetes/example/application.yaml")
        values = ("gatepass.listen=127.0.0.1:8081", "gatepass.adminListen=[::]:9090")
        for found in (
            kustomized(manifests, "components: [../sidecar]", patches),
            chart(*(f"--set={value}" for value in values)),
        ):
            container = sidecar(found)
            settings = {one["name"]: one["value"] for one in container["env"]}
            listeners = ["127.0.0.1:8081", "[::]:9090"]
            self.assertEqual(list(settings.values()), listeners)
            expected = copy.deepcopy(sidecar(self.rendered["kustomize"]))
            for setting, listener in zip(expected["env"], listeners):
                setting["value"] = listener
            container.pop("imagePullPolicy", None)
            self.assertEqual(container, expected)
            for listener in listeners:
                self.assertIn(listener, checked(configuration(self.rendered["helm"]), settings))

    def test_the_admin_listener_s_port_is_the_same_everywhere(self):
        guide = (PROJECT / "docs/getting-started.md").read_text()
        [ports] = re.findall(r"(?s)```yaml\n(ports:.*?)```", guide)
        container = yaml.safe_load(ports) | {"name": "gatepass"}
        patch = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "application"}}
        patch["spec"] = {"template": {"spec": {"initContainers": [container]}}}
        patches = yaml.safe_dump({"patches": [{"patch": yaml.safe_dump(patch)}]})
        manifests = plain("deploy/kubernetes/example/application.yaml")
        patched = kustomized(manifests, "components: [../sidecar]", patches)
        found = chart("--set", "gatepass.adminListen=0.0.0.0:9091")
        for ports in (sidecar(patched)["ports"], sidecar(found)["ports"]):
            self.assertEqual(ports, [{"name": "gatepass-admin", "containerPort": 9091}])
        self.assertEqual(pod(found)["metadata"]["annotations"]["prometheus.io/port"], "9091")

    def test_no_secret_stands_in_environment_arguments_or_configuration(self):
        for found in self.each():
            container = sidecar(found)
            self.assertEqual(
                {one["name"] for one in container["env"]},
                {"GATEPASS__PROXY__LISTEN", "GATEPASS__ADMIN__LISTEN"},
            )
            self.assertNotIn("envFrom", container)
            self.assertNotIn("command", container)
            self.assertEqual(container["args"], ["run", "--config", "/etc/gatepass/gatepass.toml"])
            self.assertNotIn("Secret", [one["kind"] for one in found])
            for credential in tomllib.loads(configuration(found))["credentials"].values():
                self.assertNotIn("client_secret", credential)

    def test_secrets_are_a_directory_that_others_cannot_read(self):
        for found in self.each():
            mounts = {one["name"]: one for one in sidecar(found)["volumeMounts"]}
            secret = mounts["gatepass-secret"]
            self.assertNotIn("subPath", secret)
            self.assertTrue(all(one["readOnly"] for one in mounts.values()))
            volumes = {one["name"]: one for one in pod(found)["spec"]["volumes"]}
            self.assertEqual(volumes["gatepass-secret"]["secret"]["defaultMode"], 0o440)
            # Root's group is who may read: or that of the pod's fsGroup, which everybody gets.
            self.assertEqual(sidecar(found)["securityContext"]["runAsGroup"], 0)
            for credential in tomllib.loads(configuration(found))["credentials"].values():
                file = pathlib.Path(credential["client_secret_file"])
                self.assertEqual(str(file.parent), secret["mountPath"])
            # No other container has it.
            for other in pod(found)["spec"]["containers"]:
                self.assertNotIn("volumeMounts", other)

    def test_what_is_mounted_is_what_is_there(self):
        for found in self.each():
            volumes = {one["name"]: one for one in pod(found)["spec"]["volumes"]}
            config_map = only("ConfigMap", found)
            self.assertEqual(
                volumes["gatepass-config"]["configMap"]["name"], config_map["metadata"]["name"]
            )
            checked(configuration(found), {})

    def test_probes_ask_what_they_should(self):
        for found in self.each():
            container = sidecar(found)
            [port] = container["ports"]
            for probe, path in (
                ("startupProbe", "/startupz"),
                ("readinessProbe", "/readyz"),
                ("livenessProbe", "/livez"),
            ):
                self.assertEqual(
                    container[probe]["httpGet"], {"path": path, "port": port["name"]}
                )
            self.assertLessEqual(len(port["name"]), 15)
            settings = {one["name"]: one["value"] for one in container["env"]}
            self.assertEqual(
                settings["GATEPASS__ADMIN__LISTEN"], f"0.0.0.0:{port['containerPort']}"
            )

    def test_a_pod_can_be_ready_without_tokens(self):
        container = sidecar(chart("--set", "gatepass.readinessProbe=false"))
        self.assertNotIn("readinessProbe", container)
        self.assertIn("startupProbe", container)

    def test_why_it_ended_is_told(self):
        for found in self.each():
            # Its log, where it exits with a mistake: it writes no message of its own.
            policy = sidecar(found)["terminationMessagePolicy"]
            self.assertEqual(policy, "FallbackToLogsOnError")

    def test_resources_are_bounded(self):
        for found in self.each():
            resources = sidecar(found)["resources"]
            self.assertIn("memory", resources["limits"])
            self.assertNotIn("cpu", resources["limits"])
            self.assertEqual(set(resources["requests"]), {"cpu", "memory"})

    def test_what_the_limits_admit_fits_into_the_memory(self):
        idle, connection, request = measured("idle", "a connection of a caller", "1 MB under way")
        for found in self.each():
            limits = tomllib.loads(configuration(found))["proxy"]["limits"]
            needed = limits["connections"] * connection + limits["requests"] * request
            [mebibytes] = re.findall(r"^(\d+)Mi$", sidecar(found)["resources"]["limits"]["memory"])
            self.assertLess(idle + needed, int(mebibytes) * 1024)

    def test_all_ways_lead_to_the_same_container(self):
        expected = sidecar(self.rendered["kustomize"])
        for found in self.each():
            container = dict(sidecar(found))
            container.pop("imagePullPolicy", None)
            self.assertEqual(container, expected)

    def test_the_version_is_the_crate_s(self):
        version = tomllib.loads((PROJECT / "Cargo.toml").read_text())["package"]["version"]
        for found in self.each():
            self.assertEqual(sidecar(found)["image"], f"gatepass:{version}")
        library = yaml.safe_load((PROJECT / "deploy/helm/gatepass/Chart.yaml").read_text())
        self.assertEqual({library["version"], library["appVersion"]}, {version})


def measured(*names):
    """How much memory each takes, in KiB: the most that the table of docs/operations.md says."""
    page = (PROJECT / "docs/operations.md").read_text()
    for name in names:
        [(most, unit)] = re.findall(rf"(?m)^\| [^|]*{name}[^|]* \|[^|]*?([\d.]+) (KiB|MiB) \|", page)
        yield float(most) * {"KiB": 1, "MiB": 1024}[unit]


def checked(config, environment):
    """What `gatepass check --show` says of it, with a secret where the file names one."""
    with tempfile.TemporaryDirectory() as directory:
        secret = pathlib.Path(directory, "client-secret")
        secret.write_text("s")
        secret.chmod(0o600)
        config = config.replace("/run/secrets/gatepass/client-secret", str(secret))
        pathlib.Path(directory, "gatepass.toml").write_text(config)
        finished = subprocess.run(
            [GATEPASS, "check", "--show"],
            cwd=directory,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if finished.returncode != 0:
            raise AssertionError(finished.stderr)
        return finished.stdout
