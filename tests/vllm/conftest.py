"""These tests need a vLLM that takes 3 GB and a quarter of an hour: only `tests/vllm/run.sh` lets them be collected."""

import os

collect_ignore = (
    [] if os.environ.get("SWARM_REAL_VLLM") else ["test_model_driver.py", "test_real_vllm.py", "test_replay.py"]
)
