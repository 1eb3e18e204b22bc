#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# This script is the first process of a node. It starts in namespaces of its own, and
# gives the node its own folders, names, sysctls and addresses. Then it runs the programs
# whose names it reads from the pipe "start". A program that ends is started again.
# Outside the namespaces none of this is visible, and all of it ends with this process.
#
# Usage: node.sh FOLDER BINARIES NAME ADDRESS SERVICES
set -euo pipefail
folder=$1 binaries=$2 name=$3 address=$4 services=$5

# The node's programs write to /run, /var and /tmp, which are in memory and empty. They
# see FOLDER as /run/node and BINARIES as /run/bin, wherever these are on the machine.
mount -t tmpfs -o mode=755 node-run "$folder/run"
mkdir "$folder/run/node" "$folder/run/bin" "$folder/run/proc" "$folder/run/lock"
mount --bind "$folder" "$folder/run/node"
mount --bind -o ro "$binaries" "$folder/run/bin"
mount -n --move "$folder/run" /run # -n: what mount notes down about it is below /run
mount -t tmpfs -o mode=755 node-var /var
mkdir -p /var/lib /var/log /var/cache
mkdir -m 1777 /var/tmp
ln -s /run /var/run
mount -t tmpfs -o mode=1777 node-tmp /tmp
# A kubelet mounts volumes below /var, and containers must see new ones.
mount --make-rshared /var
mount --make-rshared /run

hostname "$name"
printf '127.0.0.1 localhost\n%s %s\n' "$address" "$name" >/run/hosts
mount --bind /run/hosts /etc/hosts
# There is no name server. An address at which no program listens refuses at once.
resolv_conf=$(readlink -m /etc/resolv.conf)
mkdir -p "$(dirname "$resolv_conf")"
[ -e "$resolv_conf" ] || touch "$resolv_conf"
echo 'nameserver 127.0.0.1' >/run/resolv.conf
mount --bind /run/resolv.conf "$resolv_conf"

# The kernel lets a user namespace mount its own proc only if a whole proc is mounted
# somewhere already (mount_too_revealing). This one is whole. The lines below cover parts
# of /proc.
mount -t proc proc /run/proc
# A kubelet sets these sysctls, which belong to the whole machine. Here it finds a file
# with the value that it would set.
while read -r key value; do
  echo "$value" >"/run/sysctl-${key##*/}"
  mount --bind "/run/sysctl-${key##*/}" "/proc/sys/$key"
done <<END
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
END

echo 1 >/proc/sys/net/ipv4/ip_forward
echo 0 >/proc/sys/net/ipv4/icmp_ratelimit
ip link set lo up
ip link add node0 type bridge # there may be no dummy device
ip address add "$address/32" dev node0
ip link set node0 up
# The kernel looks for a route before kube-proxy's rules change the address.
ip route add "$services" dev node0 src "$address"

# keep runs a program for ever. A file programs/NAME.held keeps it from being started.
keep() {
  while :; do
    while [ -e "programs/$1.held" ]; do sleep 0.1; done
    "programs/$1" >>"logs/$1.log" 2>&1 </dev/null &
    echo $! >"pids/$1"
    wait $! && code=0 || code=$?
    echo "node: $1 ended with $code" >>"logs/$1.log"
    sleep 0.3 # a program that cannot start must not keep the machine busy
  done
}

cd /run/node
mkfifo start
exec 3<>start
touch ready
while read -r program <&3; do
  keep "$program" 3<&- &
done
