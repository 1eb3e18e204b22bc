#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: make.sh FOLDER NAMESPACE AGENTS_HOST
#
# Makes all certificates with openssl. Each folder that it makes below FOLDER has ca.crt,
# tls.crt and tls.key for one Secret. The keys of the two CAs stay in FOLDER. If they are
# there, it makes new certificates of the same CAs.
set -euo pipefail
[ $# = 3 ] || { echo "usage: $0 FOLDER NAMESPACE AGENTS_HOST" >&2; exit 2; }
folder=$1 namespace=$2 host=$3

refuse() {
  echo "$0: $1" >&2
  exit 2
}
[[ $namespace =~ ^[a-z0-9]([-a-z0-9]*[a-z0-9])?$ ]] || refuse "NAMESPACE '$namespace' is no name of a namespace: write one such as shoot"
if [[ $host =~ ^[0-9]{1,3}(\.[0-9]{1,3}){3}$ || $host =~ ^[0-9A-Fa-f:]*:[0-9A-Fa-f:]*$ ]]; then
  name=IP:$host
elif [[ $host =~ ^[A-Za-z0-9]([-.A-Za-z0-9]*[A-Za-z0-9])?$ ]]; then
  name=DNS:$host
else
  refuse "AGENTS_HOST '$host' is no address and no DNS name: write one without a port, such as 192.0.2.129"
fi
umask 077
mkdir -p "$folder"
cd "$folder"

authority() { # its name
  if [ -e "$1.key" ] && [ -e "$1.crt" ]; then return; fi
  if [ -e "$1.key" ] || [ -e "$1.crt" ]; then refuse "$folder has only one of $1.key and $1.crt: restore the other, or remove it to make a new CA"; fi
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/CN=$1" -keyout "$1.key" -out "$1.crt"
}

sign() { # the CA, the name, the extensions
  mkdir -p "$2"
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$2" -keyout "$2/tls.key" -out "$2.csr"
  openssl x509 -req -in "$2.csr" -CA "$1.crt" -CAkey "$1.key" -CAcreateserial -days 365 -extfile <(echo "$3") -out "$2/tls.crt"
  cp "$1.crt" "$2/ca.crt"
  rm "$2.csr"
}

server=konnectivity-server

# The agents and the clients have a CA each, so that no agent can be a client.
authority clients-ca
sign clients-ca $server "extendedKeyUsage=serverAuth
subjectAltName=DNS:$server,DNS:$server.$namespace,DNS:$server.$namespace.svc,DNS:$server.$namespace.svc.cluster.local"
sign clients-ca konnectivity-client extendedKeyUsage=clientAuth # for kube-apiserver
sign clients-ca proxy-client-tls extendedKeyUsage=clientAuth    # for the sidecars

authority agents-ca
sign agents-ca konnectivity-agents "extendedKeyUsage=serverAuth
subjectAltName=$name" # for the server, at the agents' side
sign agents-ca konnectivity-agent extendedKeyUsage=clientAuth # for the agents
