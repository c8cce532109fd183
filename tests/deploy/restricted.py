"""The restricted profile of the Pod Security Standards, as far as a manifest can break it."""

VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def violations(spec):
    """What a pod's spec does that the profile forbids, in words."""
    found = []
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            found.append(key)
    if spec.get("securityContext", {}).get("sysctls"):
        found.append("sysctls")
    for volume in spec.get("volumes", []):
        found += [f"volume {kind}" for kind in set(volume) - {"name"} - VOLUMES]
    of_pod = spec.get("securityContext", {})
    for container in spec.get("initContainers", []) + spec["containers"]:
        name = container["name"]
        own = container.get("securityContext", {})
        context = of_pod | own
        if own.get("privileged"):
            found.append(f"{name}: privileged")
        if own.get("allowPrivilegeEscalation") is not False:
            found.append(f"{name}: allowPrivilegeEscalation")
        if context.get("runAsNonRoot") is not True:
            found.append(f"{name}: runAsNonRoot")
        if context.get("runAsUser") == 0:
            found.append(f"{name}: runAsUser")
        if context.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
            found.append(f"{name}: seccompProfile")
        if own.get("procMount", "Default") != "Default":
            found.append(f"{name}: procMount")
        capabilities = own.get("capabilities", {})
        if "ALL" not in capabilities.get("drop", []):
            found.append(f"{name}: capabilities")
        if set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
            found.append(f"{name}: added capabilities")
        if any("hostPort" in port for port in container.get("ports", [])):
            found.append(f"{name}: hostPort")
    return found
