#!/bin/bash
# setup.sh - installs whom benches/throughput measures xvpn against, once per machine (some minutes, 1 GB); as root,
# on Debian or Ubuntu, with cargo. What is there already is left alone; what cannot be had is told and left out.
#
#   CACHE/sid     a Debian sid root: strongSwan with ESP in user space, a current wireguard-go
#   CACHE/cargo   boringtun-cli, gotatun
#
# CACHE is $XVPN_BENCH_CACHE, or xvpn-bench in $XDG_CACHE_HOME or ~/.cache.
set -uo pipefail
cache=${XVPN_BENCH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/xvpn-bench}
mkdir -p "$cache" && cd "$cache" || exit 1
export DEBIAN_FRONTEND=noninteractive
failed=0
without() { echo "setup.sh: WITHOUT $*" >&2; failed=1; }

packages=()
command -v ip >/dev/null || packages+=(iproute2)
[ -d sid ] || packages+=(mmdebstrap debian-archive-keyring)
if [ ${#packages[@]} -gt 0 ]; then
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null; } ||
        without "${packages[*]}: apt-get does not install them"
fi

if [ ! -d sid ]; then
    rm -rf sid.part
    include=charon-systemd,strongswan-swanctl,libcharon-extra-plugins,libstrongswan-extra-plugins,libstrongswan-standard-plugins,wireguard-go
    # A mirror may lag behind the suite's validity date.
    if mmdebstrap --quiet --aptopt='Acquire::Check-Valid-Until "false"' --variant=minbase --include=$include sid sid.part; then
        mv sid.part sid
    else
        without "strongswan and wireguard-go: mmdebstrap makes no Debian sid root"
    fi
fi

for crate in boringtun-cli:boringtun-cli gotatun-cli:gotatun; do
    [ -x "cargo/bin/${crate#*:}" ] && continue
    nice -n 10 cargo install --quiet --locked --root "$cache/cargo" "${crate%:*}" || without "${crate#*:}: cargo does not install it"
done
exit $failed
