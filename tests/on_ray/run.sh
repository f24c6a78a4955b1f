#!/bin/sh
# Installs Ray (250 MB) beside the development environment, once, and runs swarm on two real Ray nodes. Each has a network
# of its own, as Ray takes 127.0.0.1 for no address of a node; that needs root, or a system that lets users make networks.
set -eu
cd "$(dirname "$0")/../.."
venv="${VENV:-.venv}"

if [ ! -x .ray/bin/swarm ]; then
  "$venv/bin/python" -m venv .ray
  .ray/bin/python -m pip install --quiet --disable-pip-version-check "ray>=2.40"
  .ray/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
  site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  ours=$(.ray/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  echo "import site; site.addsitedir('$site')" > "$ours/beside.pth"
fi

network="unshare --net"
[ "$(id -u)" = 0 ] || network="unshare --map-root-user --net"
SWARM_RAY=1 RAY_USAGE_STATS_ENABLED=0 exec $network .ray/bin/python -m pytest -m ray -v -s tests/on_ray "$@"
