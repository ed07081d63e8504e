#!/usr/bin/env bash
# Trains a tiny model with MAPO on a machine that has only Python 3.10-3.12 and pip: environment, toy, training, report.
#
#   scripts/quickstart.sh [FOLDER]          # runs/quickstart by default
#
# About 7 minutes on two free cores, without the environment (7 GB of packages). Complete steps are kept: after an
# interruption, run it again to continue. STEPS (12) is the number of training steps. ENVIRONMENT (.venv) is the folder
# of the environment, which is made if absent; if it is empty, the packages of the active environment are used.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh

FOLDER=${1:-runs/quickstart}
STEPS=${STEPS:-12}
ENVIRONMENT=${ENVIRONMENT-.venv}
RUN=$FOLDER/mapo
# at a constant rate of 1e-4 the accuracy may fall again before step 12
OPTIM=actor_rollout_ref.actor.optim
RATE=("$OPTIM.lr_scheduler_type=cosine" "$OPTIM.lr_warmup_steps=2" "$OPTIM.min_lr_ratio=0.1")

say "1/4 Environment"
use_environment

say "2/4 Toy: images; a tiny Qwen2.5-VL and a tiny CLIP, which are trained already (half a minute)"
eval "toy=($(verl-mapo toy --out "$FOLDER/toy"))" # the overrides are quoted for a shell
[ "${#toy[@]}" = 4 ] || { say "The toy was not made; the reason is above."; exit 1; }

say "3/4 MAPO: $STEPS steps of 8 questions x 8 rollouts, two updates each, on stock verl and vLLM (about 5 minutes; log in" \
    "$RUN/train.log)"
if [ "$(cat "$RUN/checkpoints/latest_checkpointed_iteration.txt" 2>/dev/null)" = "$STEPS" ]; then
    say "The training is complete already."
else
    verl-mapo train --run "$RUN" --timeout-h 2 task=toy "${toy[@]}" \
        trainer.total_training_steps="$STEPS" trainer.save_freq=4 trainer.test_freq=6 \
        trainer.max_actor_ckpt_to_keep=2 actor_rollout_ref.actor.ppo_mini_batch_size=4 "${RATE[@]}"
fi

say "4/4 Report"
verl-mapo report "$RUN"
