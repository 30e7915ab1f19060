#!/bin/bash
# setup.sh - makes what tests/interop.rs needs, once per machine (about a minute, 400 MB); as root, on Debian or Ubuntu.
#
#   ROOT/sid        a Debian sid root with strongSwan 6.1: ESP in user space (kernel-libipsec)
#   ROOT/bookworm   a Debian 12 root with strongSwan 5.9.8, which boots as a User-Mode Linux guest: ESP in the kernel
#
# ROOT is $XVPN_INTEROP_ROOT, or target/interop. What is there already is left alone.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${XVPN_INTEROP_ROOT:-$here/../../target/interop}
mkdir -p "$root"
root=$(cd "$root" && pwd)
export DEBIAN_FRONTEND=noninteractive

missing=()
command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
[ -x /usr/bin/linux.uml ] || missing+=(user-mode-linux)
[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing+=(debian-archive-keyring)
if [ ${#missing[@]} -gt 0 ]; then
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

# debian SUITE PACKAGES: a root folder, complete or not there at all.
debian() {
    local suite=$1 packages=$2
    [ -e "$root/$suite/usr/sbin/swanctl" ] && return
    rm -rf "$root/$suite" "$root/$suite.part"
    # A mirror may lag behind the suite's validity date.
    mmdebstrap --quiet --aptopt='Acquire::Check-Valid-Until "false"' --variant=minbase --include="$packages" "$suite" "$root/$suite.part"
    mv "$root/$suite.part" "$root/$suite"
}

strongswan=charon-systemd,strongswan-swanctl,libcharon-extra-plugins,libstrongswan-extra-plugins,libstrongswan-standard-plugins
debian sid "$strongswan"
debian bookworm "$strongswan,kmod,iproute2,iputils-ping"

# The guest's modules, of the kernel that is installed here.
mkdir -p "$root/bookworm/lib/modules"
for modules in /usr/lib/uml/modules/*; do
    [ -e "$root/bookworm/lib/modules/$(basename "$modules")" ] || cp -r "$modules" "$root/bookworm/lib/modules/"
done
for suite in sid bookworm; do
    echo "$root/$suite: strongSwan $(chroot "$root/$suite" dpkg-query -W -f '${Version}' strongswan-swanctl)"
done
