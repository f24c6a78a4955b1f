"""The script of docker/kubernetes/ray-start.yaml as two of its pods run it, each with its own network and processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from nodes import FIRST, SECOND, inside, sockets
from small_runs import results

pytestmark = pytest.mark.ray
ROOT = Path(__file__).parents[2]
POD = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-ec")


def script(runs: Path) -> str:
    """What the container runs, with two pods in the place of five, and with names and paths of this machine."""
    documents = yaml.safe_load_all((ROOT / "docker/kubernetes/ray-start.yaml").read_text())
    (job,) = (document for document in documents if document["kind"] == "Job")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    (text,) = container["args"]
    there_and_here = {
        "swarm-ray-0.swarm-ray": FIRST,
        f"< {job['spec']['completions']}": "< 2",
        "/etc/swarm/scenario.yaml": "small.yaml",
        "/runs/": f"{runs}/",
    }
    for there, here in there_and_here.items():
        assert text.count(there) == 1
        text = text.replace(there, here)
    return text


def test_the_pods_of_the_plain_manifest_find_each_other_run_and_end(project, tmp_path, elsewhere):
    with sockets() as folder:
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "RAY_TMPDIR": folder,
        }
        pods = [
            subprocess.Popen(
                [*before, *POD, script(tmp_path)],
                cwd=project,
                env={**environment, "JOB_COMPLETION_INDEX": str(index), "POD_IP": address},
            )
            for index, (before, address) in enumerate([((), FIRST), (inside(elsewhere), SECOND)])
        ]
        try:
            head, worker = (pod.wait(200) for pod in pods)
        finally:
            for pod in pods:
                pod.kill()
                pod.wait()
    assert head in (0, 3)  # a busy machine makes a run invalid
    assert worker == 0
    (run,) = (path.parent for path in tmp_path.glob("*/results.json"))
    (stage,) = results(run)["targets"][0]["stages"]
    assert [(shard["agents"], SECOND in shard["name"]) for shard in stage["shards"]] == [(4, True)]
