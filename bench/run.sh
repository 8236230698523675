#!/bin/sh
# run.sh: runs every benchmark program of this folder, one after the other.
cd "$(dirname "$0")/.." || exit 1
status=0
for source in bench/bench_*.c; do
    [ -e "$source" ] || continue
    echo "== $(basename "${source%.c}")"
    "${BUILD:-build}/${source%.c}" "$@" || status=1
done
exit $status
