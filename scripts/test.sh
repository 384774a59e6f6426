#!/usr/bin/env bash
# The README's test command: installs what is needed, then checks everything. --long adds the slow rounds.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
exec scripts/check.sh "$@"
