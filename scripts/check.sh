#!/usr/bin/env bash
# check.sh [--all] [--long]: layers, format, release build with warnings as errors, clang-tidy (changed files; --all: every
# file), the build for arm64, the unit suite under address+undefined and thread sanitizers; then the release build's unit,
# namespace and end-to-end tests. --long: longer rounds of some tests, ten minutes of churn, and of fuzzing for each target.
set -euo pipefail
cd "$(dirname "$0")/.."
all=
long=
for argument in "$@"; do
  case $argument in
    --all) all=1 ;;
    --long) long=1; export CORACLE_LONG_TESTS=1 ;;
    *) echo "usage: scripts/check.sh [--all] [--long]" >&2; exit 2 ;;
  esac
done
mkdir -p build
# say STEP: ends the step before, with its time, and begins this one. The last step's time is in ctest's summary.
step='' began=0
say() {
  [ -z "$step" ] || printf '== %s: %d s\n' "$step" $((SECONDS - began))
  step=$* began=$SECONDS
  printf '\n== %s\n' "$step"
}
failed() { printf '\n== %s: FAILED after %d s\n' "$step" $((SECONDS - began)) >&2; }
trap '[ $? -eq 0 ] || failed' EXIT

# The product's files that differ from origin/main or, where that is HEAD or unknown, from a few commits ago.
changed_files() {
  local base
  base=$(git merge-base HEAD origin/main 2>/dev/null || true)
  if [ -z "$base" ] || [ "$base" = "$(git rev-parse HEAD)" ]; then
    base=$(git rev-list --first-parent --max-count=6 HEAD | tail -1)
  fi
  { git diff --name-only --diff-filter=d "$base" -- '*.cc'; git ls-files -o --exclude-standard '*.cc'; } | sort -u
}

# tidy FILE...: silent but for findings.
tidy() {
  echo "$# files"
  [ $# -gt 0 ] || return 0
  printf '%s\n' "$@" | xargs -P 2 -n 4 clang-tidy -p build/release --quiet --warnings-as-errors='*' \
    --extra-arg=-Wno-unknown-warning-option >build/tidy.log 2>&1 && return
  grep -vE '^[0-9]+ warnings? (generated|treated as)' build/tidy.log >&2
  return 1
}

# The executable is for arm64, needs nothing but the C library, and starts.
check_arm64() {
  local needed
  readelf -h build/arm64/coracle | grep -E 'Machine: +AArch64'
  needed=$(readelf -d build/arm64/coracle | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
  echo "needs" $needed
  [ -z "$(grep -vxE 'libc\.so\.6|libm\.so\.6|ld-linux-aarch64\.so\.1' <<<"$needed")" ]
  build/deps/arm64/bin/qemu-aarch64-static -L build/deps/arm64/sysroot build/arm64/coracle version
}

say "layers"
scripts/layers.sh
say "format"
git ls-files '*.cc' '*.h' | xargs -r clang-format --dry-run -Werror
say "release build, warnings as errors"
CORACLE_WERROR=ON scripts/build.sh release
say "clang-tidy"
if [ -n "$all" ]; then files=$(git ls-files '*.cc'); else files=$(changed_files); fi
mapfile -t files < <(grep -v -e '^test/' -e '^$' <<<"$files")
tidy "${files[@]}"
say "arm64 build"
CORACLE_WERROR=ON scripts/build.sh arm64 coracle
check_arm64
say "address and undefined-behaviour sanitizers, unit suite"
scripts/build.sh asan unit_tests
ctest --test-dir build/asan -j 2 -L unit --output-on-failure
say "thread sanitizer, unit suite"
scripts/build.sh tsan unit_tests
ctest --test-dir build/tsan -j 2 -L unit --output-on-failure
if [ -n "$long" ]; then
  say "fuzzing"
  scripts/fuzz.sh
fi
say "all tests"
ctest --test-dir build/release -j 2 --output-on-failure
