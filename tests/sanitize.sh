#!/bin/bash
# sanitize.sh [address|miri|memcheck] [NAME]..: the dataplane's tests where a pointer that goes astray is seen. Nothing else has `unsafe`
# on the packet path. NAME: only tests with that in their name.
#   address   AddressSanitizer and LeakSanitizer, all tests, those in namespaces too (the default; any toolchain of rustup's)
#   miri      an interpreter that knows what Rust allows: packets and pools, padding, where datagrams land; a few minutes
#             (rustup toolchain install nightly --component miri,rust-src)
#   memcheck  valgrind, where the toolchain brings no sanitizer: all but the tests in namespaces
# In a target folder of its own (target/sanitize, or CARGO_TARGET_DIR): other flags than for everything else.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target/sanitize} CARGO_INCREMENTAL=0
how=${1:-address}
[ $# = 0 ] || shift
host=$(rustc -vV | sed -n 's/^host: //p')

case $how in
address)
    ls "$(rustc --print sysroot)/lib/rustlib/$host/lib/"librustc*_rt.asan.a >/dev/null 2>&1 ||
        { echo "this toolchain has no AddressSanitizer (rustup's have): tests/sanitize.sh memcheck"; exit 1; }
    # A stable compiler takes the flag, too, if told to. With --target it goes to what is tested, not to build scripts.
    export RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address
    cargo test --locked --target "$host" -p xvpn-dataplane --lib --tests -- "$@"
    ;;
miri)
    # Time and sockets are the host's or not there at all; random octets by the hundred take Miri hours.
    export MIRIFLAGS="${MIRIFLAGS:-} -Zmiri-disable-isolation" PROPTEST_CASES=${PROPTEST_CASES:-2}
    names=("$@")
    [ $# -gt 0 ] || names=(buffer:: esp:: io::landing::)
    cargo +nightly miri test --locked -p xvpn-dataplane --lib -- "${names[@]}" --skip what_has_landed --skip a_place_is_used_again --skip any_
    ;;
memcheck)
    # What is written where it must not be, as the address sanitizer; what was never written is Miri's: the ciphers' assembler confuses valgrind.
    export PROPTEST_CASES=${PROPTEST_CASES:-8}
    runner=CARGO_TARGET_$(echo "$host" | tr 'a-z-' 'A-Z_')_RUNNER
    export "$runner=valgrind --quiet --error-exitcode=9 --leak-check=no --undef-value-errors=no"
    cargo test --locked -p xvpn-dataplane --lib --test esp --test esp_oracle --test esp_vectors --test pipeline --test replay -- "$@"
    ;;
*)
    sed -n '2,8s/^# //p' "$0"
    exit 1
    ;;
esac
