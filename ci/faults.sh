#!/usr/bin/env bash
# The faults that take longer than a test should: a process that waits and one that plays, each stopped for a minute, and
# a demo whose wall clock is set forward and back by a day, five times a second.
#
# Installs what is missing: Debian's faketime.
set -euo pipefail
cd "$(dirname "$0")/.."

library=$(dpkg-architecture -q DEB_HOST_MULTIARCH 2>/dev/null || echo "$(uname -m)-linux-gnu")
library=/usr/lib/$library/faketime/libfaketimeMT.so.1
if [ ! -e "$library" ]; then
    apt-get update -qq
    apt-get install -qq -y --no-install-recommends faketime
fi

export ROUNDELAY_STOP_SECONDS=${ROUNDELAY_STOP_SECONDS:-60}
cargo test -p roundelay --test faults -- stopped --nocapture
cargo test -p roundelay-player --test faults -- --nocapture

echo "a demo whose wall clock jumps"
cargo build -p roundelay-player
clock=$(mktemp)
echo "+0" >"$clock"
env LD_PRELOAD="$library" FAKETIME_TIMESTAMP_FILE="$clock" FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1 \
    "${CARGO_TARGET_DIR:-target}/debug/roundelay" demo --seconds 10 --json >"$clock.json" &
demo=$!
jumps=0
while kill -0 $demo 2>/dev/null; do
    jumps=$((jumps + 1))
    if [ $((jumps % 2)) = 0 ]; then echo "-1d"; else echo "+1d"; fi >"$clock"
    # It must not be that the demo never saw it.
    [ $jumps = 5 ] && [ "$(LD_PRELOAD="$library" FAKETIME_TIMESTAMP_FILE="$clock" date +%F)" = "$(date +%F)" ] &&
        { echo "the clock does not jump"; exit 1; }
    sleep 0.2
done
wait $demo
cat "$clock.json"
grep -q '"seconds_played":10.0,' "$clock.json"
rm -f "$clock" "$clock.json"
[ $jumps -lt 100 ] || { echo "it took too long"; exit 1; }
echo "$jumps jumps"
