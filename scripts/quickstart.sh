#!/usr/bin/env bash
# Trains a tiny model with MAPO on a machine that has only Python 3.10-3.12 and pip: environment, toy, training, report.
#
#   scripts/quickstart.sh [FOLDER]          # runs/quickstart by default
#
# About 20 minutes on two cores, without the downloads (7 GB of packages). Complete steps are kept: after an
# interruption, run it again to continue. STEPS (30) is the number of training steps.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh

FOLDER=${1:-runs/quickstart}
STEPS=${STEPS:-30}
RUN=$FOLDER/mapo

say "1/4 Environment"
create_environment .venv cpu
export PATH="$PWD/.venv/bin:$PATH"

say "2/4 Toy: images, a tiny Qwen2.5-VL trained on imperfect demonstrations, a tiny CLIP (about 8 minutes)"
eval "toy=($(verl-mapo toy --out "$FOLDER/toy"))"  # the overrides are quoted for a shell
[ "${#toy[@]}" = 4 ] || { say "The toy was not made; the reason is above."; exit 1; }

say "3/4 MAPO: $STEPS steps of 8 questions x 8 rollouts on stock verl and vLLM (about 9 minutes; log in $RUN/train.log)"
if [ "$(cat "$RUN/checkpoints/latest_checkpointed_iteration.txt" 2>/dev/null)" = "$STEPS" ]; then
    say "The training is complete already."
else
    verl-mapo train --run "$RUN" --timeout-h 2 task=toy "${toy[@]}" \
        trainer.total_training_steps="$STEPS" trainer.save_freq=10 trainer.test_freq=15 trainer.max_actor_ckpt_to_keep=1
fi

say "4/4 Report"
verl-mapo report "$RUN"
