#!/usr/bin/env bash
# The toy as a benchmark: its warm start, and the models that GRPO and MAPO make of it, answer the same held-out questions
# with and without tools. Swapped looks tell of each model whether its looks cause its answers (docs/benchmarks.md).
#
#   scripts/bench_toy.sh [FOLDER]           # runs/bench_toy by default
#
# About 40 minutes on two free cores, without the environment. What is complete is kept: after an interruption, run it
# again to continue. Settings: STEPS (12) of both trainings; QUESTIONS (64); K (8) samples of each; ENVIRONMENT (.venv),
# which is made if absent; if it is empty, the packages of the active environment are used.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh

FOLDER=${1:-runs/bench_toy}
STEPS=${STEPS:-12}
QUESTIONS=${QUESTIONS:-64}
K=${K:-8}
ENVIRONMENT=${ENVIRONMENT-.venv}
OPTIM=actor_rollout_ref.actor.optim
RATE=("$OPTIM.lr_scheduler_type=cosine" "$OPTIM.lr_warmup_steps=2" "$OPTIM.min_lr_ratio=0.1")  # the quickstart's

use_environment
eval "toy=($(verl-mapo toy --out "$FOLDER/toy"))"  # the overrides are quoted for a shell
[ "${#toy[@]}" = 4 ] || { say "The toy was not made; the reason is above."; exit 1; }

for method in grpo mapo; do
    run=$FOLDER/train/$method
    [ "$(cat "$run/checkpoints/latest_checkpointed_iteration.txt" 2>/dev/null)" != "$STEPS" ] || continue
    say "$(date +%H:%M) $method: $STEPS steps"
    verl-mapo train --run "$run" --timeout-h 2 task=toy "method=$method" "${toy[@]}" \
        trainer.total_training_steps="$STEPS" trainer.val_before_train=false trainer.test_freq=-1 trainer.save_freq=4 \
        trainer.max_actor_ckpt_to_keep=1 actor_rollout_ref.actor.ppo_mini_batch_size=4 "${RATE[@]}"
done

data=$(printf '%s\n' "${toy[@]}" | sed -n 's/^data.val_files=//p')
[ -e "$FOLDER/rows/train.parquet" ] ||
    verl-mapo bench prepare toy --source "$(dirname "$data")" --out "$FOLDER/rows" --limit "$QUESTIONS"
for model in warm_start grpo mapo; do
    say "$(date +%H:%M) $model: $QUESTIONS questions x $K samples, with and without tools"
    weights=()
    [ "$model" = warm_start ] || weights=(--run "$FOLDER/train/$model")
    verl-mapo bench run "$FOLDER/rows" --config run --out "$FOLDER/$model" --k "$K" --protocol both "${weights[@]}" \
        task=toy "${toy[@]}" visual_tool.audit.share=1 'visual_tool.audit.swaps=[random_crop,other_image,blank,repeat]'
    verl-mapo bench causes "$FOLDER/$model/tools" "$FOLDER/$model/direct" --out "$FOLDER/causes_$model"
done
verl-mapo bench compare "$FOLDER/warm_start/tools" "$FOLDER/grpo/tools" "$FOLDER/mapo/tools" --out "$FOLDER/comparison"
