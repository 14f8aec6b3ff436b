#!/usr/bin/env bash
# The storms side by side, for as long as one likes: ci/storms.sh [SECONDS], an hour if none are given. A line of figures for
# each. It ends with an error at the first byte that is wrong or wait that hangs, and says how to repeat the round.
# ROUNDELAY_STORM_SEED=N begins all of them with the plan of one round.
set -euo pipefail
cd "$(dirname "$0")/.."

export ROUNDELAY_STORM_SECONDS=${1:-3600}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
cargo test --release --test storms -- --nocapture --test-threads=5 2>&1 | tee "$log"
[ "$(grep -c '^storm .*, 0 hangs,' "$log")" = 5 ] || { echo "not all storms came to their end"; exit 1; }
