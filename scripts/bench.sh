#!/usr/bin/env bash
# bench.sh [NAME...]: benchmarks of the release build; JSON lines under build/bench/, a table on stdout. Root.
# etcd, the CNI plugins and dnsmasq are measured beside it when they are installed (etcd-server,
# containernetworking-plugins, dnsmasq-base and dnsperf).
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/build.sh release bench >/dev/null
mkdir -p build/bench
exec python3 test/bench/bench.py build/release build/bench "$@"
