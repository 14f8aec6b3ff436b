#!/usr/bin/env bash
# The tests under thread sanitizer, with the copy loop written out, and a standard library that is instrumented as well:
# its locks and channels are then seen for what they are. Fails at the first report; there are no suppressions.
#
# Not here: what measures memory, time or page faults of the process (`soak`, `realtime`, two tests of `kithara_mistakes`),
# which a sanitizer has to change.
set -euo pipefail
cd "$(dirname "$0")/.."

rustup component list --toolchain nightly --installed | grep -q '^rust-src' ||
    rustup component add rust-src --toolchain nightly

target=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --cfg roundelay_written_out"
export TSAN_OPTIONS="halt_on_error=1 exitcode=66 history_size=4"
export ROUNDELAY_TORN_BYTES=${ROUNDELAY_TORN_BYTES:-20000000}
tests=(--lib)
for test in tests/*.rs tests/*/main.rs; do
    name=${test#tests/}
    name=${name%/main.rs}
    name=${name%.rs}
    case $name in mock | soak | realtime | faults) continue ;; esac
    tests+=(--test "$name")
done
cargo +nightly test -Zbuild-std --target "$target" --target-dir target/tsan -p roundelay "${tests[@]}" -- \
    --skip reading_while_others_write_takes_no_memory \
    --skip two_million_writes_without_a_reader_take_the_memory_of_their_bytes
