#!/usr/bin/env bash
# From a bare machine (Python 3.10-3.12 and pip) to a model that MAPO taught to look: environment, toy, training, report.
#
#   scripts/quickstart.sh [FOLDER]          # runs/quickstart by default
#
# About 20 minutes on two cores, downloads aside (7 GB of packages). Whatever was finished is kept: run it again after an
# interruption and it goes on. STEPS (30) is the number of training steps.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh

FOLDER=${1:-runs/quickstart}
STEPS=${STEPS:-30}
RUN=$FOLDER/mapo

say "1/4 Environment"
create_environment .venv cpu
export PATH="$PWD/.venv/bin:$PATH"

say "2/4 Toy: pictures, a tiny Qwen2.5-VL that has seen imperfect demonstrations, a tiny CLIP (about 8 minutes)"
mapfile -t toy < <(verl-mapo toy --out "$FOLDER/toy")
[ "${#toy[@]}" = 4 ] || { say "The toy was not made; the reason is above."; exit 1; }

say "3/4 MAPO: $STEPS steps of 8 questions x 8 rollouts on stock verl and vLLM (about 9 minutes; log in $RUN/train.log)"
if [ "$(cat "$RUN/checkpoints/latest_checkpointed_iteration.txt" 2>/dev/null)" = "$STEPS" ]; then
    say "It is trained already."
else
    verl-mapo train --run "$RUN" --timeout-h 2 task=toy "${toy[@]}" \
        trainer.total_training_steps="$STEPS" trainer.save_freq=10 trainer.test_freq=15 trainer.max_actor_ckpt_to_keep=1
fi

say "4/4 Report"
verl-mapo report "$RUN"
