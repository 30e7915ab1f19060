#!/bin/sh
# guest.sh - process 1 of the User-Mode Linux guest that is the peer with a real kernel's ESP.
#
# Started by tests/harness/guest.rs. From the kernel's command line it learns xvpn_dir, a folder of the machine outside
# with
#   setup      a shell script: addresses and routes
#   etc/       swanctl.conf and strongswan.conf
#   halt       once it is there, the guest ends
#   cmd.N      a shell script to run, N counting from 1; what it prints comes back as out.N, its status as its last line
# The machine outside sees `ready` when the daemon takes commands.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mkdir /run/outside /run/lock
dir=$(sed -n 's/.*xvpn_dir=\([^ ]*\).*/\1/p' /proc/cmdline)
mount -t hostfs none /run/outside -o "$dir"
for module in ipv6 esp4 esp6 xfrm_user gcm ccm authenc authencesn cbc ctr chacha20poly1305 echainiv seqiv sha512_generic; do
    modprobe "$module" || echo "no module $module"
done
ip link set lo up
. /run/outside/setup
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
export STRONGSWAN_CONF=/run/outside/etc/strongswan.conf SWANCTL_DIR=/run/outside/etc
charon-systemd >/run/outside/log 2>&1 &
n=0
until [ -S /run/charon.vici ] || [ $n -gt 200 ]; do n=$((n + 1)); sleep 0.05; done
swanctl --load-all >/run/outside/loaded 2>&1
mv /run/outside/loaded /run/outside/ready
n=1
until [ -e /run/outside/halt ]; do
    if [ -e /run/outside/cmd.$n ]; then
        sh /run/outside/cmd.$n >/run/outside/partial.$n 2>&1
        echo "status $?" >>/run/outside/partial.$n
        mv /run/outside/partial.$n /run/outside/out.$n
        n=$((n + 1))
    else
        sleep 0.05
    fi
done
# Process 1 must not return; this ends the guest.
echo o >/proc/sysrq-trigger
sleep 10
