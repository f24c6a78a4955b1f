#!/bin/sh
# Installs other load testers, pinned, and drives the simulated server with each: nothing in it is made for them.
set -eu
cd "$(dirname "$0")/../.."
python="${VENV:-.venv}/bin/python"

"$python" tests/install.py vllm guidellm aiperf
.vllm/venv/bin/python tests/vllm/models.py .vllm/models

SWARM_PEERS=1 exec "$python" -m pytest -m peers -v -s tests/peers "$@"
