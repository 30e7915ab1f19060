#!/bin/bash
# Runs deploy/cloud-init/user-data for real: in network and mount namespaces of its own, with a peer gateway opposite,
# up to an established tunnel. usage: boot.sh XVPN_BINARY WORKDIR   (root; re-executes itself under unshare)
set -euo pipefail
bin=$1 work=$2 here=$(cd "$(dirname "$0")/../.." && pwd)
if [ "${XVPN_BOOT_INSIDE:-}" != 1 ]; then
    XVPN_BOOT_INSIDE=1 exec unshare --net --mount --pid --fork --kill-child -- "$0" "$bin" "$work"
fi
mount --make-rprivate /
cp "$bin" "$work/xvpn"
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mkdir -p /run/netns /run/etc/upper /run/etc/work /run/bin
mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/etc/upper,workdir=/run/etc/work /etc
mount --bind /run/bin /usr/local/bin

ip link set lo up
ip netns add peer
ip link add eth0 type veth peer name eth0 netns peer
ip addr add 203.0.113.1/24 dev eth0
ip addr add 10.1.0.1/24 dev lo
ip link set eth0 up
ip -n peer link set lo up
ip -n peer addr add 203.0.113.2/24 dev eth0
ip -n peer addr add 10.2.0.1/24 dev lo
ip -n peer link set eth0 up

psk=$("$work/xvpn" genpsk)
(umask 077 && echo "$psk" >"$work/peer.psk")
cat >"$work/peer.toml" <<TOML
[gateway]
state_dir = "$work/peer-state"

[[tunnel]]
name = "aws"
start = "listen"
psk = { file = "$work/peer.psk" }
local = { id = "azure.example", networks = ["10.2.0.0/24"] }
remote = { address = "203.0.113.1", id = "aws.example", networks = ["10.1.0.0/24"] }
TOML
cat >"$work/gateway.toml" <<TOML
[[tunnel]]
name = "azure"
psk = { file = "/etc/xvpn/psk" }
local = { id = "aws.example", networks = ["10.1.0.0/24"] }
remote = { address = "203.0.113.2", id = "azure.example", networks = ["10.2.0.0/24"] }
TOML
mkdir -p "$work/peer-state"
ip netns exec peer "$work/xvpn" --config "$work/peer.toml" run >"$work/peer.log" 2>&1 &
peer=$!

sed -e "s|@XVPN_BINARY_URL@|file://$work/xvpn|" \
    -e "s|@XVPN_BINARY_SHA256@|$(sha256sum "$work/xvpn" | cut -d' ' -f1)|" \
    -e "s|@XVPN_CONFIG_BASE64@|$(base64 -w0 "$work/gateway.toml")|" \
    -e "s|@XVPN_PSK_COMMAND@|echo $psk|" \
    -e "s|@XVPN_SIGNAL_COMMAND@|echo \$status >$work/signal|" \
    "$here/deploy/cloud-init/user-data" >"$work/user-data"
status=0
sh "$work/user-data" || status=$?
echo "user-data ended with $status, signalled $(cat "$work/signal")"
[ "$status" = 0 ] && [ "$(cat "$work/signal")" = 0 ] || { echo "--- peer.log"; cat "$work/peer.log"; exit 1; }
[ "$(stat -c %a /etc/xvpn/psk)" = 600 ] || { echo "the pre-shared key's file is readable by others"; exit 1; }
/usr/local/bin/xvpn status
ping -c 3 -i 0.2 -W 2 -I 10.1.0.1 10.2.0.1

# A wrong checksum must stop the boot before anything is installed, and must be signalled.
rm /usr/local/bin/xvpn
sed -i "s|^XVPN_BINARY_SHA256=.*|XVPN_BINARY_SHA256='$(printf '0%.0s' {1..64})'|" "$work/user-data"
if sh "$work/user-data"; then echo "a binary with a wrong checksum was accepted"; exit 1; fi
[ ! -e /usr/local/bin/xvpn ] && [ "$(cat "$work/signal")" = 1 ] || { echo "the wrong binary was installed or not signalled"; exit 1; }
kill "$peer"
echo "boot: ok"
