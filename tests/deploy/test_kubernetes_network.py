"""What the network policies beside a sidecar let through."""

import ipaddress
import unittest

from rendered import everything, kustomized, only, plain, pod, sidecar


class NetworkPolicies(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.rendered = everything()

    def test_the_network_policy_lets_out_what_is_needed_alone(self):
        for name in ("kustomize", "job", "helm", "helm, narrowed"):
            found = self.rendered[name]
            policy = only("NetworkPolicy", found)["spec"]
            labels = pod(found)["metadata"]["labels"]
            self.assertLessEqual(
                policy["podSelector"]["matchLabels"].items(), labels.items(), name
            )
            self.assertEqual(policy["policyTypes"], ["Egress"])
            names, others = policy["egress"]
            self.assertEqual({one["port"] for one in names["ports"]}, {53})
            self.assertEqual([one["port"] for one in others["ports"]], [443])
            destinations = names["to"] + others["to"]
            networks = [one["ipBlock"] for one in destinations if "ipBlock" in one]
            node_local_dns = ipaddress.ip_address("169.254.20.10")
            self.assertTrue(any(admits(network, node_local_dns) for network in networks), name)
            metadata_service = ipaddress.ip_address("169.254.169.254")
            self.assertFalse(any(admits(network, metadata_service) for network in networks), name)
        narrowed = only("NetworkPolicy", self.rendered["helm, narrowed"])
        [network] = narrowed["spec"]["egress"][1]["to"]
        self.assertEqual(network["ipBlock"], {"cidr": "203.0.113.0/24"})
        self.assertNotIn("NetworkPolicy", [one["kind"] for one in self.rendered["helm, bare"]])

    def test_the_network_policy_of_a_release_is_for_its_pods_alone(self):
        labels = pod(self.rendered["helm"])["metadata"]["labels"]
        selected = only("NetworkPolicy", self.rendered["helm"])["spec"]["podSelector"]["matchLabels"]
        # Labels that the chart itself gives: what a pod has besides is for the application to say.
        for name, value in selected.items():
            self.assertEqual(name.partition("/")[0], "gatepass")
            self.assertEqual(labels[name], value)
        self.assertIn("it", selected.values())

    def test_the_admin_listener_can_be_closed_without_the_application_s_ports(self):
        manifests = plain("deploy/kubernetes/example/application.yaml")
        found = kustomized(manifests, "components: [../sidecar, ../admin-policy]")
        policy = only("NetworkPolicy", found)["spec"]
        self.assertEqual(policy["policyTypes"], ["Ingress"])
        labels = pod(found)["metadata"]["labels"]
        self.assertLessEqual(policy["podSelector"]["matchLabels"].items(), labels.items())
        monitoring, everybody = policy["ingress"]
        [port] = sidecar(found)["ports"]
        self.assertEqual([one["port"] for one in monitoring["ports"]], [port["containerPort"]])
        self.assertIn("namespaceSelector", *monitoring["from"])
        self.assertNotIn("from", everybody)
        for protocol, closed in (("TCP", {9090}), ("UDP", set()), ("SCTP", set())):
            opened = set()
            for one in everybody["ports"]:
                if one["protocol"] == protocol:
                    opened |= set(range(one["port"], one["endPort"] + 1))
            self.assertEqual(set(range(1, 65536)) - opened, closed, protocol)


def admits(network, address):
    """Whether a network policy's block lets this address through."""
    within = ipaddress.ip_network(network["cidr"])
    excepted = [ipaddress.ip_network(one) for one in network.get("except", [])]
    return address in within and not any(address in one for one in excepted)
