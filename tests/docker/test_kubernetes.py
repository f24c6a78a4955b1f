"""The manifests against the schemas of Kubernetes 1.30, strictly, and what must hold between them; none is applied."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from typer.testing import CliRunner

from swarm.cli import app
from swarm.engine.shard import place_of
from swarm.scenario.load import load_scenario

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docker/kubernetes"
FILES = [*sorted(FOLDER.glob("*.yaml")), ROOT / "docs/nightly/cronjob.yaml"]

TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
COUNT = {"type": "integer", "minimum": 0}


def exactly(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


GROUP = {"rayStartParams": TEXTS, "template": {"type": "object"}}
RAY_JOB = exactly(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata={"type": "object"},
    spec=exactly(
        ["entrypoint", "rayClusterSpec"],
        entrypoint={"type": "string"},
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode"]},
        submitterConfig=exactly([], backoffLimit=COUNT),
        backoffLimit=COUNT,
        shutdownAfterJobFinishes={"type": "boolean"},
        ttlSecondsAfterFinished=COUNT,
        rayClusterSpec=exactly(
            ["headGroupSpec"],
            rayVersion={"type": "string"},
            headGroupSpec=exactly([*GROUP], **GROUP),
            workerGroupSpecs={
                "type": "array",
                "items": exactly(
                    ["groupName", "minReplicas", "maxReplicas", *GROUP],
                    groupName={"type": "string"},
                    replicas=COUNT,
                    minReplicas=COUNT,
                    maxReplicas=COUNT,
                    **GROUP,
                ),
            },
        ),
    ),
)
"""The fields in use of `RayJobSpec` and `RayClusterSpec`, as KubeRay's Go types (ray-operator/apis/ray/v1) have them.
The CRD is in no package that a test could install. Pod templates are Kubernetes' own."""


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def of_kind(path: Path, kind: str) -> dict[str, Any]:
    (found,) = (document for document in documents(path) if document["kind"] == kind)
    return found


def ray_pods() -> list[dict[str, Any]]:
    cluster = of_kind(FOLDER / "rayjob.yaml", "RayJob")["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, **group["template"]} for group in groups]


def strictly(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, "1.30", strict=True)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_document_follows_the_schema_of_its_kind(path):
    for document in documents(path):
        if document["kind"] == "RayJob":
            jsonschema.validate(document, RAY_JOB)
        else:
            strictly(document)


def test_the_pods_of_the_ray_job_follow_kubernetes_own_schema():
    for pod in ray_pods():
        strictly(pod)


def test_a_field_that_does_not_exist_is_found():
    job = of_kind(FOLDER / "shards.yaml", "Job")
    job["spec"]["completion"] = 4
    with pytest.raises(kubernetes_validate.ValidationError):
        strictly(job)
    ray = of_kind(FOLDER / "rayjob.yaml", "RayJob")
    ray["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["replica"] = 4
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(ray, RAY_JOB)


def test_the_shards_meet_under_the_name_that_the_headless_service_gives_the_first_of_them(tmp_path):
    job, service = (of_kind(FOLDER / "shards.yaml", kind) for kind in ("Job", "Service"))
    name, pod = job["metadata"]["name"], job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    options = dict(word.removeprefix("--").split("=", 1) for word in container["args"] if "=" in word)
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text("targets: [{name: moe, architecture: moe, api_base: http://vllm:8000/v1}]")
    place = place_of(options["shard"].replace("$(SHARD)", "3"), options["rendezvous"], "r", load_scenario(scenario))
    assert place.of == job["spec"]["completions"] == job["spec"]["parallelism"]
    assert place.host == f"{name}-0.{pod['subdomain']}"
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": name}
    assert {port["containerPort"] for port in container["ports"]} == {place.port}


def test_every_variable_in_an_argument_is_one_that_the_container_has():
    (container,) = of_kind(FOLDER / "shards.yaml", "Job")["spec"]["template"]["spec"]["containers"]
    known = {variable["name"] for variable in container["env"]}
    assert set(re.findall(r"\$\((\w+)\)", " ".join(container["args"]))) == {"SHARD", "RUN_ID"} <= known


def test_one_dead_shard_does_not_end_the_others():
    spec = of_kind(FOLDER / "shards.yaml", "Job")["spec"]
    assert spec["backoffLimitPerIndex"] == 0
    assert "backoffLimit" not in spec


def test_shards_and_their_merging_share_a_volume_that_several_pods_may_write():
    claim = of_kind(FOLDER / "shards.yaml", "PersistentVolumeClaim")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for name in ("shards", "merge"):
        volumes = of_kind(FOLDER / f"{name}.yaml", "Job")["spec"]["template"]["spec"]["volumes"]
        assert volumes[0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


def test_the_ray_version_of_the_cluster_is_that_of_the_image():
    version = of_kind(FOLDER / "rayjob.yaml", "RayJob")["spec"]["rayClusterSpec"]["rayVersion"]
    assert f"FROM rayproject/ray:{version}-py312 AS swarm-ray" in (ROOT / "docker/Dockerfile").read_text()


def test_every_swarm_command_in_the_manifests_is_one_with_options_that_it_has():
    texts = [yaml.safe_dump(document, width=1000) for path in FOLDER.glob("*.yaml") for document in documents(path)]
    (container,) = of_kind(FOLDER / "shards.yaml", "Job")["spec"]["template"]["spec"]["containers"]
    scripted = re.findall(r"swarm (run|report|check) ([^\n']*)", "\n".join(texts))
    called = [("run", " ".join(container["args"])), *scripted]
    assert sorted(command for command, _ in called) == ["check", "report", "run", "run"]
    for command, words in called:
        helped = CliRunner().invoke(app, [command, "--help"]).stdout
        for option in re.findall(r"--[a-z-]+", words):
            assert f"{option} " in helped, (command, option)
