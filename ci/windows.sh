#!/usr/bin/env bash
# The library on Windows: its tests, built for Windows and run under Wine. First whether all of it compiles for macOS.
#
# Installs what is missing from Debian's packages: a compiler with its sources, from which the standard libraries of the
# other systems are built; a linker; Wine. `tests/realtime`, `tests/files` and the like are Linux's own and empty there.
set -euo pipefail
cd "$(dirname "$0")/.."

wine=/usr/lib/wine/wine64
if ! [ -x /usr/bin/cargo ] || ! [ -x "$wine" ] || ! command -v x86_64-w64-mingw32-gcc-posix >/dev/null; then
    apt-get update -qq
    apt-get install -qq -y --no-install-recommends rustc-web rust-web-src cargo-web gcc-mingw-w64-x86-64-posix wine64
fi

# Debian's compiler has its own sources beside it; it is not told so by another's settings.
export PATH=/usr/bin:/bin RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/other-systems
cargo=(/usr/bin/cargo)
standard=-Zbuild-std

for target in x86_64-apple-darwin aarch64-apple-darwin; do
    "${cargo[@]}" check "$standard" -p roundelay --target "$target" --features mock,symphonia
done

target=x86_64-pc-windows-gnu
export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER=x86_64-w64-mingw32-gcc-posix
export WINEPREFIX=$PWD/$CARGO_TARGET_DIR/wine WINEDEBUG=-all
# Older Wine lacks the library that random numbers come from.
deps=$CARGO_TARGET_DIR/$target/debug/deps
mkdir -p "$deps"
cat >"$deps/random.c" <<'C'
#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE to, SIZE_T len) { return SystemFunction036(to, (ULONG)len); }
C
x86_64-w64-mingw32-gcc-posix -shared -o "$deps/bcryptprimitives.dll" "$deps/random.c" -ladvapi32
timeout 120 "$wine" winecfg /v win10

export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER="timeout 300 $wine"
"${cargo[@]}" test "$standard" -p roundelay --target "$target" --lib --tests --no-fail-fast
