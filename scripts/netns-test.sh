#!/usr/bin/env bash
# Runs the namespace tests (root, real kernel) of the release build; arguments go to ctest.
set -euo pipefail
cd "$(dirname "$0")/.."
ctest --test-dir build/release -L netns --output-on-failure "$@"
