#!/usr/bin/env bash
# bench.sh [NAME...]: benchmarks of the release build; JSON lines under build/bench/, a table on stdout. Root.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/build.sh release coracle >/dev/null
mkdir -p build/bench
exec python3 test/bench/bench.py build/release/coracle build/bench "$@"
