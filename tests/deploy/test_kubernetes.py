"""The manifests for Kubernetes: by its releases' schemas, and by what they have to agree on among themselves."""

import subprocess

import kubernetes_validate
import pytest
import yaml

from meteora.addresses import is_wildcard, parse_address
from tests.deploy.manifests import (
    KUBERNETES,
    KUBERNETES_TLS,
    VARIABLES,
    container,
    image_environment,
    manifests,
    of_image,
    pod_environment,
    secure_stateful_set,
    stateful_set,
)

FILES = sorted(path.name for path in KUBERNETES.glob("*.yaml") if path.name != "kustomization.yaml")
RELEASES = ["1.28", "1.37"]
"""The oldest that is promised, and the newest whose schemas there are."""


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("file", FILES)
def test_a_file_is_what_a_release_knows(file: str, release: str) -> None:
    for each in manifests(KUBERNETES / file):
        kubernetes_validate.validate(each, release, strict=True)


def test_the_kustomization_lists_all_files() -> None:
    assert sorted(yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]) == FILES


def test_everything_is_about_the_same_pods() -> None:
    labels = stateful_set()["spec"]["template"]["metadata"]["labels"]
    specs = {file: [each["spec"] for each in manifests(KUBERNETES / file)] for file in FILES}
    selectors = [
        *(each["selector"] for each in specs["services.yaml"]),
        *(each["selector"]["matchLabels"] for each in specs["poddisruptionbudget.yaml"] + specs["statefulset.yaml"]),
        *(each["podSelector"]["matchLabels"] for each in specs["networkpolicy.yaml"]),
    ]
    assert selectors == [labels] * len(selectors)


def test_the_ports_are_those_of_the_image() -> None:
    ports = {each["name"]: each["containerPort"] for each in container()["ports"]}
    of_image = {name.lower(): int(image_environment()[f"METEORA_{name}_PORT"]) for name in ("KV", "RAFT")}
    metrics = parse_address(pod_environment("meteora-0", "default")["METEORA_METRICS_ADDRESS"])
    assert ports == {**of_image, "metrics": metrics.port}
    for service in manifests(KUBERNETES / "services.yaml"):
        assert all(ports[each["targetPort"]] == each["port"] for each in service["spec"]["ports"])


def test_the_volume_is_where_the_image_has_its_data() -> None:
    assert [each["mountPath"] for each in container()["volumeMounts"]] == of_image("VOLUME")
    names = [each["metadata"]["name"] for each in stateful_set()["spec"]["volumeClaimTemplates"]]
    assert [each["name"] for each in container()["volumeMounts"]] == names


def test_the_nodes_are_told_what_the_command_knows() -> None:
    ours = {name for name in pod_environment("meteora-0", "default") if name.startswith("METEORA_")}
    assert ours <= VARIABLES


def test_probes_are_asked_where_no_certificate_is_needed_and_another_host_can_ask() -> None:
    probes = [container()[f"{each}Probe"]["httpGet"] for each in ("startup", "liveness", "readiness")]
    assert [(each["port"], each.get("scheme", "HTTP")) for each in probes] == [("metrics", "HTTP")] * 3
    assert is_wildcard(parse_address(pod_environment("meteora-0", "default")["METEORA_METRICS_ADDRESS"]).host)


@pytest.mark.parametrize("release", RELEASES)
def test_the_secure_stateful_set_is_what_a_release_knows(release: str) -> None:
    kubernetes_validate.validate(secure_stateful_set(), release, strict=True)


def test_the_secure_variant_is_built_on_the_other_one() -> None:
    kustomization = yaml.safe_load((KUBERNETES_TLS / "kustomization.yaml").read_text())
    (base,), (patch,) = kustomization["resources"], kustomization["patches"]
    assert (KUBERNETES_TLS / base).resolve() == KUBERNETES
    assert (KUBERNETES_TLS / patch["path"]).exists()
    assert patch["target"] == {"kind": "StatefulSet", "name": stateful_set()["metadata"]["name"]}


def test_the_files_of_the_secure_variant_are_in_its_secret() -> None:
    (mounted,) = [
        each["mountPath"] for each in container(secure_stateful_set())["volumeMounts"] if each["name"] == "tls"
    ]
    secure = pod_environment("meteora-0", "default", secure_stateful_set())
    files = {name: path for name, path in secure.items() if path.startswith(mounted)}
    assert {path.removeprefix(f"{mounted}/") for path in files.values()} == {"tls.crt", "tls.key", "ca.crt"}
    assert files.keys() - VARIABLES == {"METEORA_CACERT", "METEORA_CERT", "METEORA_KEY"}


def test_peers_of_the_secure_variant_bear_the_name_of_the_headless_service() -> None:
    secure = pod_environment("meteora-0", "shop", secure_stateful_set())
    advertised = secure["METEORA_ADVERTISE_ADDRESS"]
    assert secure["METEORA_PEER_ALLOWED_NAMES"] == f"*.{advertised.partition('.')[2]}"


def test_the_service_injects_no_variable_that_the_command_would_take_for_its_own() -> None:
    assert stateful_set()["spec"]["template"]["spec"]["enableServiceLinks"] is False


@pytest.mark.parametrize("ordinal", [0, 2, 10])
def test_a_pod_is_the_node_after_its_ordinal(ordinal: int) -> None:
    (script,) = container()["args"]
    command = [*container()["command"], script.replace("exec meteora start", "exec printenv METEORA_ID")]
    environment = {"PATH": "/usr/bin:/bin", **pod_environment(f"meteora-{ordinal}", "default")}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.stdout == f"{ordinal + 1}\n", result.stderr


def test_the_first_pods_know_each_other_by_the_names_that_the_headless_service_gives_them() -> None:
    spec = stateful_set()["spec"]
    pods = [pod_environment(f"meteora-{ordinal}", "shop") for ordinal in range(spec["replicas"])]
    port = image_environment()["METEORA_RAFT_PORT"]
    advertised = ",".join(f"{each['METEORA_ADVERTISE_ADDRESS']}:{port}" for each in pods)
    assert [each["METEORA_INITIAL_CLUSTER"] for each in pods] == [advertised] * len(pods)
    assert pods[0]["METEORA_ADVERTISE_ADDRESS"] == f"meteora-0.{spec['serviceName']}.shop.svc"
    (headless,) = [each for each in manifests(KUBERNETES / "services.yaml") if each["spec"].get("clusterIP") == "None"]
    assert headless["metadata"]["name"] == spec["serviceName"]
    assert headless["spec"]["publishNotReadyAddresses"] is True


def test_no_pod_waits_for_another_to_be_ready_before_it_starts() -> None:
    assert stateful_set()["spec"]["podManagementPolicy"] == "Parallel"


def test_the_pod_is_of_the_restricted_profile() -> None:
    pod, own = stateful_set()["spec"]["template"]["spec"]["securityContext"], container()["securityContext"]
    assert (pod["runAsNonRoot"], pod["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
    assert [f"{pod['runAsUser']}:{pod['runAsGroup']}"] == of_image("USER")
    assert own == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
