"""How Prometheus finds a sidecar, and what it leaves of the application's own metrics."""

import unittest

import yaml

from rendered import PROJECT, everything, kustomized, only, plain, pod, sidecar


class Scraped(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.rendered = everything()

    def test_prometheus_is_told_where(self):
        for name, found in self.rendered.items():
            annotations = pod(found)["metadata"].get("annotations", {})
            told = annotations.get("prometheus.io/port")
            self.assertEqual(told, None if name == "helm, bare" else "9090", name)

    def test_metrics_of_the_application_are_not_taken_over(self):
        [own] = plain("deploy/kubernetes/example/application.yaml")
        for annotation in ("scrape", "port", "path"):
            annotations = {"a": "b", f"prometheus.io/{annotation}": "its own"}
            own["spec"]["template"]["metadata"]["annotations"] = annotations
            found = kustomized([own], "components: [../sidecar, ../pod-monitor]")
            self.assertEqual(pod(found)["metadata"]["annotations"], annotations)
            with self.assertRaisesRegex(AssertionError, f"prometheus.io~1{annotation} failed"):
                kustomized([own], "components: [../sidecar, ../prometheus]")
        own["spec"]["template"]["metadata"]["annotations"] = {"a": "b"}
        found = kustomized([own], "components: [../sidecar, ../prometheus]")
        told = pod(self.rendered["kustomize"])["metadata"]["annotations"]
        self.assertEqual(set(told), {f"prometheus.io/{one}" for one in ("scrape", "port", "path")})
        self.assertEqual(pod(found)["metadata"]["annotations"], told | {"a": "b"})

    def test_metrics_are_found_by_the_name_of_the_port(self):
        manifests = plain("deploy/kubernetes/example/application.yaml")
        found = kustomized(manifests, "components: [../sidecar, ../pod-monitor]")
        monitor = only("PodMonitor", found)["spec"]
        [port] = sidecar(found)["ports"]
        self.assertEqual(monitor["podMetricsEndpoints"], [{"port": port["name"]}])
        for found in (found, self.rendered["helm"], self.rendered["plain"]):
            labels = pod(found)["metadata"]["labels"]
            self.assertLessEqual(monitor["selector"]["matchLabels"].items(), labels.items())
        [job] = yaml.safe_load((PROJECT / "deploy/prometheus/pods.yml").read_text())["scrape_configs"]
        [keep] = [one for one in job["relabel_configs"] if one.get("action") == "keep"]
        self.assertEqual(keep["source_labels"], ["__meta_kubernetes_pod_container_port_name"])
        self.assertEqual(keep["regex"], port["name"])
