#!/usr/bin/env bash
# Runs the benchmarks of docs/performance.md that need neither a GPU nor a data set in sequence and prints markdown. About 50 minutes on two idle cores.
#
#   scripts/bench.sh [ENVIRONMENT]          # .venv by default
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh

ENVIRONMENT=${1:-.venv}
create_environment "$ENVIRONMENT" cpu,dev
export PATH="$(cd "$ENVIRONMENT" && pwd)/bin:$PATH" OMP_NUM_THREADS=1

printf '%s, %s x %s\n' "$(date +%F)" "$(nproc)" "$(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs)"
for bench in advantages focus views ledger loop features images scoring data_stats compare step refusal; do
    printf '\n### scripts/bench_%s.py\n\n' "$bench"
    python "scripts/bench_$bench.py"
done
