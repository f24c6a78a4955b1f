"""These tests need Ray, 250 MB of it, and a network of their own: only `tests/on_ray/run.sh` lets them be collected."""

import os

collect_ignore = [] if os.environ.get("SWARM_RAY") else ["test_on_ray.py", "nodes.py"]
