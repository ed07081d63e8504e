#!/usr/bin/env bash
# Runs all tests on a machine that has only Python 3.10-3.12 and pip: environment, quick tests on two cores, then the
# training runs, two at a time if memory allows. About 25 minutes on two cores.
#
#   scripts/test.sh [ENVIRONMENT]           # .venv by default; made if absent
#
# pytest -m matrix covers the remaining combinations of method, model family and mode, a run that is killed at every place
# of a step, 100,000 random turns of a model, the quickstart, and the training of the models that ship with the package.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh

ENVIRONMENT=${1:-.venv}
create_environment "$ENVIRONMENT" cpu,dev
export PATH="$(cd "$ENVIRONMENT" && pwd)/bin:$PATH" OMP_NUM_THREADS=1

say "1/3 Lint"
ruff check .
ruff format --check .
TEST_TOYS=$(mktemp -d)  # the toys of the quick tests are those of the training runs
export TEST_TOYS
trap 'rm -rf "$TEST_TOYS"' EXIT
say "2/3 Quick tests, four at a time because many wait for processes that they start (about 9 minutes)"
python -m pytest -q -n 4 --dist loadfile -m "not e2e" -p no:warnings
at_once=$(runs_that_fit 2)
say "3/3 Seven training runs with stock verl, ray, FSDP2 and vLLM, $at_once at a time (two at a time: 10 minutes)"
python -m pytest -q -n "$at_once" --dist loadfile -m "e2e and not matrix" -p no:warnings --durations=0
