"""`make test-soak`: a million requests of one soak in virtual time, half an hour of it, with flat memory."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_runs import SWARM, results, write_project

MIB = 1 << 20


def resident(process: int) -> tuple[int, int]:
    """Bytes in memory, and open files."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir(f"/proc/{process}/fd"))


@pytest.mark.skipif(sys.platform != "linux" or "SWARM_TEST_SOAK" not in os.environ, reason="make test-soak runs it")
def test_memory_and_open_files_are_flat_over_a_million_requests(tmp_path: Path):
    write_project(
        tmp_path,
        agents={"levels": [4], "system_tokens": 1500, "context": "4k"},
        stage={"warmup": "10s", "duration": "14h", "trials": 1},
        record={"chunks": False},
        budget={"requests": 1_000_000},
        soak={"window": "60s"},
    )
    command = [SWARM, "soak", "small.yaml", "--predict", "--quiet", "--out", "million"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    seen = []
    while not (tmp_path / "million/histograms.hlog").exists():
        time.sleep(1)
    while process.poll() is None:
        part = sum(path.stat().st_size for path in (tmp_path / "million").glob("events.jsonl*"))
        try:
            seen.append((part, *resident(process.pid)))
        except OSError:
            break
        time.sleep(5)
    assert process.wait() == 3  # the budget ended it
    done = sum(row["requests"] for row in results(tmp_path / "million")["soak"]["windows"])
    assert done > 990_000
    written = max(size for size, _, _ in seen)
    load = [(memory, files) for size, memory, files in seen if 0.1 * written < size < written]
    third = len(load) // 3
    early, late = (max(memory for memory, _ in part) for part in (load[:third], load[-third:]))
    assert late - early < 4 * MIB
    assert max(files for _, files in load) - min(files for _, files in load) <= 2
