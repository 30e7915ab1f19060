#!/bin/bash
# figures.sh [XVPN_BINARY]: time from `xvpn up` to established, and resident memory with 1 and with 100 tunnels.
# Two daemons in network namespaces of their own (root; re-executes itself under unshare). Prints one line per figure
# with machine and date. TCP throughput: `cargo run --release -- demo` prints it.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
bin=${1:-${CARGO_TARGET_DIR:-$here/target}/release/xvpn}
[ -x "$bin" ] || { echo "no $bin: cargo build --release first, or name the binary" >&2; exit 2; }
bin=$(readlink -f "$bin")
if [ "${XVPN_FIGURES_INSIDE:-}" != 1 ]; then
    XVPN_FIGURES_INSIDE=1 exec unshare --net --mount --pid --fork --kill-child -- "$0" "$bin"
fi
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mkdir /run/netns
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
ip link set lo up
ip netns add peer
ip link add eth0 type veth peer name eth0 netns peer
ip addr add 203.0.113.1/24 dev eth0; ip link set eth0 up
ip -n peer link set lo up; ip -n peer addr add 203.0.113.2/24 dev eth0; ip -n peer link set eth0 up
psk=$("$bin" genpsk)
machine="$(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -1), $(nproc) CPUs, Linux $(uname -r), $(date -u +%F)"
echo "machine: $machine; $("$bin" --version)"

config() { # side(1|2) count start
    local me=$1 other=$((3 - $1)) i
    printf '[gateway]\nstate_dir = "%s/state%s"\n' "$work" "$me"
    for i in $(seq "$2"); do
        cat <<TOML
[[tunnel]]
name = "t$i"
start = "$3"
psk = { file = "$work/psk" }
local = { id = "g$me-$i.example", networks = ["10.$((me * 100)).$i.0/24"] }
remote = { address = "203.0.113.$other", id = "g$other-$i.example", networks = ["10.$((other * 100)).$i.0/24"] }
TOML
    done
}
rss() { awk '/^VmRSS/{printf "%.1f", $2/1024}' "/proc/$1/status"; }
(umask 077; echo "$psk" >"$work/psk")
for n in 1 100; do
    mkdir -p "$work/state1" "$work/state2"
    config 1 $n manual >"$work/1.toml"; config 2 $n listen >"$work/2.toml"
    ip netns exec peer "$bin" --config "$work/2.toml" run >"$work/2.log" 2>&1 & b=$!
    "$bin" --config "$work/1.toml" run >"$work/1.log" 2>&1 & a=$!
    for _ in $(seq 600); do [ -S "$work/state1/xvpn.sock" ] && [ -S "$work/state2/xvpn.sock" ] && break; sleep 0.1; done
    sleep 0.5
    idle=$(rss $a)
    t0=$(date +%s%N)
    "$bin" --config "$work/1.toml" up >"$work/up.log" 2>&1 || { cat "$work/up.log" "$work/1.log"; exit 1; }
    t1=$(date +%s%N)
    sleep 1
    echo "$n tunnel(s): xvpn up to established $(((t1 - t0) / 1000000)) ms; resident memory initiator $(rss $a) MiB (before up $idle), responder $(rss $b) MiB"
    kill $a $b; wait $a $b 2>/dev/null || true
done
