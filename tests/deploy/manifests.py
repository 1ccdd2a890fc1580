"""What is in deploy/ and in the Dockerfile, read as those who run it do."""

import json
import re
import shlex
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from meteora.cli.start import start
from tests.house.source import ROOT

DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
KUBERNETES_TLS = DEPLOY / "kubernetes-tls"
COMPOSE = DEPLOY / "compose" / "compose.yaml"
UNIT = DEPLOY / "systemd" / "meteora.service"

VARIABLES = {name for each in start.params if isinstance(name := each.envvar, str)}
"""What `meteora start` reads from the environment."""


@cache
def dockerfile() -> tuple[tuple[str, str], ...]:
    """The instructions of the Dockerfile, each as its name and the rest of it, in one line."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.partition(" ") for line in text.splitlines() if line.strip()]
    return tuple((name, " ".join(rest.split())) for name, _, rest in lines)


def of_image(name: str) -> list[str]:
    """What the Dockerfile says of `name` for the image that is kept, and not for the stage that builds it."""
    instructions = dockerfile()
    last_stage = max(place for place, (each, _) in enumerate(instructions) if each == "FROM")
    return [rest for each, rest in instructions[last_stage:] if each == name]


def image_environment() -> dict[str, str]:
    """The variables of ours that the image sets."""
    pairs = [pair.partition("=") for rest in of_image("ENV") for pair in shlex.split(rest)]
    return {name: value for name, _, value in pairs if name.startswith("METEORA_")}


def health_check() -> list[str]:
    """The command that says whether a container is healthy."""
    (rest,) = of_image("HEALTHCHECK")
    command: list[str] = json.loads(rest.partition("CMD ")[2])
    return command


@cache
def compose() -> Any:
    """The compose file."""
    return yaml.safe_load(COMPOSE.read_text())


def manifests(file: Path) -> list[Any]:
    """The objects in a file."""
    return list(yaml.safe_load_all(file.read_text()))


@cache
def stateful_set() -> Any:
    """The StatefulSet."""
    return manifests(KUBERNETES / "statefulset.yaml")[0]


@cache
def secure_stateful_set() -> Any:
    """The StatefulSet as the patch for TLS leaves it."""
    patched = deepcopy(stateful_set())
    for operation in yaml.safe_load((KUBERNETES_TLS / "tls.yaml").read_text()):
        _add(patched, **operation)
    return patched


def _add(document: Any, op: str, path: str, value: object) -> None:
    """One operation of a JSON patch (RFC 6902)."""
    assert op == "add"
    *way, last = path.removeprefix("/").split("/")
    for each in way:
        document = document[int(each)] if isinstance(document, list) else document[each]
    if last == "-":
        document.append(value)
    else:
        assert last not in document
        document[last] = value


def container(of: Any = None) -> Any:
    """Its only container, or that of another StatefulSet."""
    (only,) = (of or stateful_set())["spec"]["template"]["spec"]["containers"]
    return only


def pod_environment(pod_name: str, namespace: str, of: Any = None) -> dict[str, str]:
    """The variables of the container in a pod, as Kubernetes sets them: in order, $(NAME) meaning one before."""
    fields = {"metadata.name": pod_name, "metadata.namespace": namespace}
    environment: dict[str, str] = {}
    for each in container(of)["env"]:
        text = each["value"] if "value" in each else fields[each["valueFrom"]["fieldRef"]["fieldPath"]]
        environment[each["name"]] = re.sub(r"\$\((\w+)\)", lambda match: environment[match[1]], text)
    return environment
