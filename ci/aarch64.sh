#!/usr/bin/env bash
# The copy kernels of aarch64 and all that stands on them, under emulation: every kernel at all lengths from 0 to 300, at
# every alignment and at page ends, the unit tests, gates, rings and waits, and the torn-read stress.
#
# Installs what is missing: Debian's cross linker and emulator, rustup's standard library for aarch64. The emulator runs
# on this processor and keeps most of its order: what this checks are the instructions, not the orderings, which are
# loom's to check.
set -euo pipefail
cd "$(dirname "$0")/.."

target=aarch64-unknown-linux-gnu
if ! command -v qemu-aarch64-static >/dev/null || ! command -v aarch64-linux-gnu-gcc >/dev/null; then
    apt-get update -qq
    apt-get install -qq -y --no-install-recommends gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static
fi
rustup target list --installed | grep -qx "$target" || rustup target add "$target"

export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64-static -L /usr/aarch64-linux-gnu"
export ROUNDELAY_TORN_BYTES=${ROUNDELAY_TORN_BYTES:-200000000}
cargo test --release --target "$target" -p roundelay \
    --lib --test gates --test ring --test waits --test pcm_seek --test stress
cargo test --release --target "$target" -p roundelay --test torn -- --nocapture
