#!/bin/sh
# Installs vLLM for the CPU and makes two small models, once, and runs swarm against a real server of each.
set -eu
cd "$(dirname "$0")/../.."
python="${VENV:-.venv}/bin/python"

"$python" tests/install.py vllm
.vllm/venv/bin/python tests/vllm/models.py .vllm/models

status=0
SWARM_REAL_VLLM=1 "$python" -m pytest -m vllm -v -s tests/vllm "$@" || status=$?
echo "vLLM's logs: .vllm/logs/  swarm's run directories: .vllm/runs/"
exit $status
