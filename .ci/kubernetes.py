#!/usr/bin/env python3
"""Is deploy/kubernetes what an API server would accept? Offline: the API's schemas come with kubernetes-validate.

Beyond the schemas, which know each object alone: what names something else names something that is there.
"""

import pathlib
import re
import sys
import tomllib

import kubernetes_validate
import yaml

FOLDER = pathlib.Path("deploy/kubernetes")
# The oldest version with what the files use (a preStop sleep), and the newest one whose schemas are at hand.
VERSIONS = ["1.30", "1.33", "1.37"]


def objects(kustomization: dict) -> list[dict]:
    """What `kubectl apply -k` would send, but for the names of the images and the namespace."""
    found = [document for name in kustomization["resources"] for document in yaml.safe_load_all((FOLDER / name).read_text())]
    for generator in kustomization["configMapGenerator"]:
        data = {name: (FOLDER / name).read_text() for name in generator["files"]}
        found.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generator["name"]}, "data": data})
    return found


def against_schemas(found: list[dict]) -> list[str]:
    problems = []
    for version in VERSIONS:
        for one in found:
            try:
                kubernetes_validate.validate(one, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                place = ".".join(str(step) for step in error.path)
                problems.append(f"{one['kind']} {one['metadata']['name']}, {place}: {error.message} (Kubernetes {version})")
    return problems


def against_each_other(found: list[dict], kustomization: dict) -> list[str]:
    def named(kind: str) -> dict[str, dict]:
        return {one["metadata"]["name"]: one for one in found if one["kind"] == kind}

    problems = []
    files = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    problems += [f"{name} is not in kustomization.yaml" for name in files - set(kustomization["resources"])]
    pods = {name: one["spec"]["template"] for name, one in named("Deployment").items()}
    labels = [pod["metadata"]["labels"] for pod in pods.values()]
    images = {image["name"] for image in kustomization["images"]}

    for name, pod in pods.items():
        for volume in pod["spec"].get("volumes", []):
            if "configMap" in volume and volume["configMap"]["name"] not in named("ConfigMap"):
                problems.append(f"Deployment {name}: no ConfigMap {volume['configMap']['name']}")
        for container in pod["spec"]["containers"]:
            ports = {port["name"] for port in container["ports"]}
            for probe in ("livenessProbe", "readinessProbe"):
                if (port := container[probe]["httpGet"]["port"]) not in ports:
                    problems.append(f"Deployment {name}: {probe} asks port {port}, which is not there")
            if container["image"] not in images:
                problems.append(f"Deployment {name}: the image {container['image']} is not in kustomization.yaml")
    for one in found:
        spec, title = one.get("spec", {}), f"{one['kind']} {one['metadata']['name']}"
        selector = spec.get("selector") or spec.get("podSelector") or {}
        selector = selector.get("matchLabels", selector)
        if selector and not any(selector.items() <= pod.items() for pod in labels):
            problems.append(f"{title} selects {selector}: no such pod")
        if "scaleTargetRef" in spec and spec["scaleTargetRef"]["name"] not in pods:
            problems.append(f"{title} scales {spec['scaleTargetRef']['name']}: no such Deployment")

    # upstream.toml: the services it names, and the ports it listens on.
    configuration = tomllib.loads((FOLDER / "upstream.toml").read_text())
    for group in configuration["upstream"].values():
        for server in group["servers"]:
            host, port = server.rsplit(":", 1)
            service = named("Service").get(host)
            if service is None or service["spec"].get("clusterIP") != "None":
                problems.append(f"upstream.toml: {host} is not a headless Service")
            elif int(port) not in [each["port"] for each in service["spec"]["ports"]]:
                problems.append(f"upstream.toml: the Service {host} has no port {port}")
    listens = {str(server["listen"]) for server in configuration["server"]}
    listens.add(re.sub(r".*:", "", configuration["admin"]["listen"]))
    has = {str(port["containerPort"]) for port in pods["weir"]["spec"]["containers"][0]["ports"]}
    if listens != has:
        problems.append(f"upstream.toml listens on {sorted(listens)}, the Deployment says {sorted(has)}")
    return problems


def main() -> None:
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    found = objects(kustomization)
    problems = against_schemas(found) + against_each_other(found, kustomization)
    print("\n".join(problems) or f"{len(found)} objects hold against Kubernetes {', '.join(VERSIONS)}")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
