#!/usr/bin/env bash
# Walks the cold start on a machine that has only Python 3.10-3.12 and pip: a tiny model rolls out the toy greedily, its
# right rollouts become supervised rows, verl's sft_trainer trains the model on them, and MAPO goes on from there.
#
#   scripts/cold_start.sh [FOLDER]          # runs/cold_start by default
#
# It is meant for 15 minutes on two free cores, without the environment (7 GB of packages); see docs/cold_start.md for what
# was measured. Complete steps are kept: after an interruption, run it again to continue. QUESTIONS (768) are rolled out;
# STEPS (6) is the number of steps of MAPO. ENVIRONMENT (.venv) is the folder of the environment, which is made if absent;
# if it is empty, the packages of the active environment are used.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh

FOLDER=${1:-runs/cold_start}
QUESTIONS=${QUESTIONS:-768}
STEPS=${STEPS:-6}
ENVIRONMENT=${ENVIRONMENT-.venv}
OPTIM=actor_rollout_ref.actor.optim

# complete RUN STEP: whether a run has a checkpoint of this step, its last one.
complete() { [ "$(cat "$1/checkpoints/latest_checkpointed_iteration.txt" 2>/dev/null)" = "$2" ]; }

say "1/6 Environment"
use_environment

say "2/6 Toy: images; a tiny Qwen2.5-VL and a tiny CLIP, which are trained already (half a minute)"
eval "toy=($(verl-mapo toy --out "$FOLDER/toy"))" # the overrides are quoted for a shell
[ "${#toy[@]}" = 4 ] || { say "The toy was not made; the reason is above."; exit 1; }
base=${toy[2]#actor_rollout_ref.model.path=} base=${base#\"} base=${base%\"}

say "3/6 Collect: one greedy rollout of each of $QUESTIONS questions, and the right ones as rows (log in $FOLDER/collect/train.log)"
verl-mapo collect --run "$FOLDER/collect" --out "$FOLDER/rows" --n 1 --temperature 0 --min-calls 1 \
    task=toy "${toy[@]}" data.train_max_samples="$QUESTIONS"

say "4/6 SFT on these rows (log in $FOLDER/sft/train.log)"
verl-mapo sft --model "$base" --data "$FOLDER/rows/train.parquet" --run "$FOLDER/sft" --timeout-h 1 \
    data.max_prompt_length=512 data.max_response_length=256 actor_rollout_ref.rollout.multi_turn.max_assistant_turns=3 \
    data.train_batch_size=16 data.max_token_len_per_gpu=4096 optim.lr=1e-4 trainer.total_epochs=1
step=$(cat "$FOLDER/sft/checkpoints/latest_checkpointed_iteration.txt")
tuned=$(cd "$FOLDER/sft/checkpoints/global_step_$step/huggingface" && pwd)

say "5/6 MAPO from there: $STEPS steps of 8 questions x 8 rollouts (log in $FOLDER/mapo/train.log)"
if complete "$FOLDER/mapo" "$STEPS"; then
    say "The training is complete already."
else
    verl-mapo train --run "$FOLDER/mapo" --timeout-h 2 task=toy "${toy[@]}" "actor_rollout_ref.model.path=$tuned" \
        trainer.total_training_steps="$STEPS" trainer.save_freq="$STEPS" trainer.test_freq="$STEPS" \
        actor_rollout_ref.actor.ppo_mini_batch_size=4 "$OPTIM.lr=5e-5" "$OPTIM.lr_warmup_steps=2"
fi

say "6/6 Report"
verl-mapo report "$FOLDER/mapo"
