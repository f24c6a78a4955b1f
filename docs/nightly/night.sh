#!/bin/sh
# One night: night.sh SCENARIO [swarm soak's options]. Goes on with the last night where that was killed or rebooted,
# else starts one; then holds it against its thresholds, its drift and the nights before. Ends with swarm's exit code.
set -eu
scenario=$1
shift
name=$(swarm validate "$scenario" | sed -n "s/^name: //p" | tr -d "'\"")
last=$(find runs -mindepth 1 -maxdepth 1 -type d -name "$name-[0-9]*T[0-9]*Z*" 2>/dev/null | sort | tail -n 1)
code=2
if [ -n "$last" ] && [ ! -e "$last/results.json" ]; then
    flock -n "$last" true || { echo "$last: the last night is still running" >&2; exit 2; }
    code=0
    run=$(swarm soak --resume "$last" --quiet) || code=$?
fi
if [ "$code" = 2 ]; then    # nothing to go on with, or it cannot be gone on with, and must not block this night
    code=0
    run=$(swarm soak "$scenario" --quiet "$@") || code=$?
fi
case $code in
0 | 3 | 4) ;;           # measured: the check below has the last word
*) exit "$code" ;;      # not measured, or interrupted
esac
echo "$run"
exec swarm check "$run" --junit "$run/junit.xml"
