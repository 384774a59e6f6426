#!/usr/bin/env bash
# fuzz.sh [SECONDS] [TARGET...]: runs each fuzz target of test/fuzz for SECONDS (600), from its corpus. What it finds
# lies in build/fuzz/finds/<target>/ and makes it fail. FUZZ_JOBS (2) targets run at a time. Root, for apt.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=600
if [[ ${1:-} =~ ^[0-9]+$ ]]; then seconds=$1; shift; fi
missing=()
for p in clang-14 libclang-rt-14-dev; do
  dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q '^install ok installed' || missing+=("$p")
done
if [ ${#missing[@]} -gt 0 ]; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
if [ $# -eq 0 ]; then
  for corpus in test/fuzz/corpus/*/; do set -- "$@" "$(basename "$corpus")"; done
fi
mkdir -p build
scripts/build.sh fuzz "${@/#/fuzz_}"
grep -oEh '"[A-Za-z0-9]+"' apiserver/schema/*.json | sort -u >build/fuzz/schema.dict

run() {  # run SECONDS TARGET: grown inputs stay in build/fuzz/grown/, so that the next run goes on from there
  local finds=build/fuzz/finds/$2/ grown=build/fuzz/grown/$2 log=build/fuzz/$2.log dictionary=build/fuzz/$2.dict
  mkdir -p "$finds" "$grown"
  cat build/fuzz/schema.dict $(ls "test/fuzz/$2.dict" 2>/dev/null) >"$dictionary"
  local options=(-max_total_time="$1" -timeout=10 -rss_limit_mb=2048 -malloc_limit_mb=512 -max_len=16384
                 -artifact_prefix="$finds" -print_final_stats=1 -dict="$dictionary")
  if "build/fuzz/fuzz_$2" "${options[@]}" "$grown" "test/fuzz/corpus/$2" >"$log" 2>&1; then
    echo "fuzz: $2: nothing found, $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs"
  else
    echo "fuzz: $2: see $log and $finds"
    tail -n 40 "$log"
    return 1
  fi
}
export -f run
printf '%s\n' "$@" | xargs -P "${FUZZ_JOBS:-2}" -I{} bash -c 'run "$@"' run "$seconds" {}
