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
    job = of_kind(FOLDER / "ray-start.yaml", "Job")
    job["spec"]["completion"] = 5
    with pytest.raises(kubernetes_validate.ValidationError):
        strictly(job)
    ray = of_kind(FOLDER / "rayjob.yaml", "RayJob")
    ray["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["replica"] = 4
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(ray, RAY_JOB)


@pytest.fixture
def job() -> dict[str, Any]:
    return of_kind(FOLDER / "ray-start.yaml", "Job")


def the_container(job: dict[str, Any]) -> dict[str, Any]:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return container


def test_the_pods_find_the_head_under_the_name_that_the_headless_service_gives_it(job):
    service, pod, container = (
        of_kind(FOLDER / "ray-start.yaml", "Service"),
        job["spec"]["template"]["spec"],
        the_container(job),
    )
    (script,) = container["args"]
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": job["metadata"]["name"]}
    (port,) = (port["containerPort"] for port in container["ports"])
    assert f"head={job['metadata']['name']}-0.{pod['subdomain']}:{port}\n" in script
    assert f"--head --port={port} " in script
    assert f"--address $POD_IP:{port} " in script


def test_the_head_waits_for_all_pods_of_the_job(job):
    (script,) = the_container(job)["args"]
    (nodes,) = re.findall(r"node\['Alive'\].* < (\d+):", script)
    assert int(nodes) == job["spec"]["completions"] == job["spec"]["parallelism"]


def test_every_variable_of_the_script_is_one_that_the_container_has_or_sets(job):
    container = the_container(job)
    (script,) = container["args"]
    known = {variable["name"] for variable in container["env"]} | {"JOB_COMPLETION_INDEX"}  # Kubernetes' own
    known |= set(re.findall(r"^ *(\w+)=", script, re.M))
    assert {"POD_IP", "head"} <= set(re.findall(r"\$(\w+)", script)) <= known


def test_one_dead_pod_does_not_end_the_others(job):
    assert job["spec"]["backoffLimitPerIndex"] == 0
    assert "backoffLimit" not in job["spec"]


def test_the_volume_is_one_that_all_pods_of_the_job_may_mount(job):
    claim = of_kind(FOLDER / "ray-start.yaml", "PersistentVolumeClaim")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    claimed = [volume["persistentVolumeClaim"] for volume in job["spec"]["template"]["spec"]["volumes"][:1]]
    assert claimed == [{"claimName": claim["metadata"]["name"]}]


def test_the_ray_version_of_the_cluster_is_that_of_the_image():
    version = of_kind(FOLDER / "rayjob.yaml", "RayJob")["spec"]["rayClusterSpec"]["rayVersion"]
    assert f"FROM rayproject/ray:{version}-py312 AS swarm-ray" in (ROOT / "docker/Dockerfile").read_text()


def test_every_swarm_command_in_the_manifests_is_one_with_options_that_it_has():
    texts = [yaml.safe_dump(document, width=1000) for path in FOLDER.glob("*.yaml") for document in documents(path)]
    called = re.findall(r"swarm (run) (/etc/swarm/[^\n']*)", "\n".join(texts).replace("\\\n", ""))
    assert len(called) == len(list(FOLDER.glob("*.yaml")))
    for command, words in called:
        helped = CliRunner().invoke(app, [command, "--help"]).stdout
        for option in re.findall(r"--[a-z-]+", words):
            assert f"{option} " in helped, (command, option)
