#!/usr/bin/env bash
# Installs what the benchmark runs and is not a Python package, where it is missing.
# Debian and Ubuntu; as root, or by sudo.
set -euo pipefail

missing=()
for pair in etcd:etcd-server redis-server:redis-server redis-benchmark:redis-tools h2load:nghttp2-client cc:gcc; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
# What the C library's headers are in; gcc alone does not bring them.
[ -e /usr/include/stdio.h ] || missing+=(libc6-dev)
((${#missing[@]})) || exit 0

echo "Installing ${missing[*]}"
as_root=()
((EUID == 0)) || as_root=(sudo)
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
# Neither etcd nor redis is to run as a service: the benchmark starts its own, and they would only be in its way.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod +x "$policy"
    trap '"${as_root[@]}" rm -f "$policy"' EXIT
fi
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}"
