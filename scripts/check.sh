#!/usr/bin/env bash
# check.sh [--all] [--long]: layers, format, release build with warnings as errors, clang-tidy (changed files; --all: every
# file), unit tests, the unit suite under address+undefined and thread sanitizers, namespace tests, end-to-end tests.
# --long: longer rounds of some tests, and ten minutes of fuzzing for each target.
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
say() { printf '\n== %s\n' "$*"; }

say "layers"
scripts/layers.sh
say "format"
git ls-files '*.cc' '*.h' | xargs -r clang-format --dry-run -Werror
say "release build, warnings as errors"
CORACLE_WERROR=ON scripts/build.sh release
say "clang-tidy"
if [ -n "$all" ]; then
  files=$(git ls-files '*.cc' | grep -v '^test/' || true)
else
  base=$(git rev-parse -q --verify HEAD~1 || git rev-parse HEAD)
  files=$( (git diff --name-only --diff-filter=d "$base" -- '*.cc'; git ls-files -o --exclude-standard '*.cc') | grep -v '^test/' | sort -u || true)
fi
[ -z "$files" ] || printf '%s\n' $files | xargs -P 2 -n 4 clang-tidy -p build/release --quiet --warnings-as-errors='*' \
  --extra-arg=-Wno-unknown-warning-option 2>/dev/null
say "address and undefined-behaviour sanitizers, unit suite"
scripts/build.sh asan unit_tests
ctest --test-dir build/asan -L unit --output-on-failure
say "thread sanitizer, unit suite"
scripts/build.sh tsan unit_tests
ctest --test-dir build/tsan -L unit --output-on-failure
say "all tests"
ctest --test-dir build/release --output-on-failure
if [ -n "$long" ]; then
  say "fuzzing"
  scripts/fuzz.sh
fi
