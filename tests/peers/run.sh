#!/bin/sh
# Installs other load testers, pinned, and drives the simulated server with each: nothing in it is made for them. Then
# Prometheus' own tool checks the server's /metrics.
set -eu
cd "$(dirname "$0")/../.."
python="${VENV:-.venv}/bin/python"

"$python" tests/install.py vllm guidellm aiperf prometheus
.vllm/venv/bin/python tests/vllm/models.py .vllm/models

SWARM_PEERS=1 exec "$python" -m pytest -v -s tests/peers tests/simulator/test_simulator_promtool.py "$@"
