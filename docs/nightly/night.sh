#!/bin/sh
# One night: night.sh SCENARIO [swarm soak's options]. Goes on with the last night where that was killed or rebooted,
# else starts one; then holds it against its thresholds, its drift and the nights before. Ends with swarm's exit code.
set -eu
scenario=$1
shift
last=$(find runs -mindepth 1 -maxdepth 1 -type d -name "$(basename "$scenario" .yaml)-*" 2>/dev/null | sort | tail -n 1)
code=0
if [ -n "$last" ] && [ ! -e "$last/results.json" ]; then
    run=$(swarm soak --resume "$last" --quiet) || code=$?
else
    run=$(swarm soak "$scenario" --quiet "$@") || code=$?
fi
case $code in
0 | 3 | 4) ;;           # measured: the check below has the last word
*) exit "$code" ;;      # not measured, or interrupted
esac
echo "$run"
exec swarm check "$run" --junit "$run/junit.xml"
