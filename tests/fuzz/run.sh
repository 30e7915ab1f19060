#!/bin/bash
# run.sh [TARGET|all [SECONDS]]: fuzz one target, or all in turn; no argument lists them. Needs cargo-fuzz (cargo install cargo-fuzz).
# run.sh check: only whether they compile, as CI does it. Needs neither cargo-fuzz nor a compiler of C++, for nothing is linked.
# Each begins with what is in tests/fuzz/seeds/TARGET; x509 with all that OpenSSL made for the tests of ike.
# A stable toolchain does: RUSTC_BOOTSTRAP lets it take the flags that cargo-fuzz passes; no sanitizer, so that gcc's runtime is enough.
# XVPN_SANITIZER=address wants the runtime that rustup's toolchains bring.
set -euo pipefail
cd "$(dirname "$0")/../.."
export RUSTC_BOOTSTRAP=1 PATH="$PATH:$HOME/.cargo/bin:$PWD/target/tools/bin"
targets=$(cd tests/fuzz/fuzz_targets && ls -- *.rs | sed 's/\.rs$//')
if [ "${1:-}" = check ]; then
    unset RUSTC_BOOTSTRAP
    # Not --locked: a dependency that the workspace was given since is no reason to fail.
    CUSTOM_LIBFUZZER_PATH=/none/libnone.a exec cargo check --manifest-path tests/fuzz/Cargo.toml
fi
what=${1:-} seconds=${2:-60}
[ -n "$what" ] || { echo "targets:"; echo "$targets"; exit; }
[ "$what" = all ] && what=$targets
for t in $what; do
    echo "== $t for $seconds s"
    seeds=tests/fuzz/seeds/$t
    [ "$t" = x509 ] && seeds=ike/tests/vectors/revocation
    mkdir -p "tests/fuzz/corpus/$t"
    [ -d "$seeds" ] && cp -rn "$seeds/." "tests/fuzz/corpus/$t/"
    set +e
    cargo fuzz run --fuzz-dir tests/fuzz --sanitizer "${XVPN_SANITIZER:-none}" "$t" -- -max_total_time="$seconds" -timeout=5 -rss_limit_mb=2048 -print_final_stats=1 2>&1 |
        { grep -E '^(stat::|Done|==|SUMMARY|thread|.*panicked|.*ERROR)|crash-|error' || true; }
    status=${PIPESTATUS[0]}
    set -e
    [ "$status" = 0 ] || { echo "FAILED: $t (artifacts in tests/fuzz/artifacts/$t)"; exit 1; }
done
