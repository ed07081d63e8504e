#!/usr/bin/env bash
# Does AXPO help on the toy? Five arms, three seeds, from one warm start that calls a tool in about 30 % of its rollouts.
#
#   scripts/study_axpo.sh [FOLDER]          # runs/study_axpo by default
#
# At most 3 hours on two cores: 15 runs of STEPS (30) steps and one validation of 256 questions x 4 rollouts each. Run it
# again after an interruption and it goes on; then, or at any time, the table and the figure:
#
#   python scripts/study.py FOLDER --figure docs/evidence_axpo.png
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh

FOLDER=${1:-runs/study_axpo}
STEPS=${STEPS:-30}
SEEDS=${SEEDS:-1 2 3}

declare -A ARMS=(
    [grpo]="algorithm.adv_estimator=grpo"
    [grpo_25]="algorithm.adv_estimator=grpo actor_rollout_ref.rollout.n=10"
    [axpo]=""
    [axpo_random]="algorithm.axpo.prefix_rank=random"
    [axpo_fresh]="algorithm.axpo.fix_prefix=false"
)

create_environment .venv cpu
export PATH="$PWD/.venv/bin:$PATH"
mapfile -t toy < <(verl-mapo data --out "$FOLDER/toy" --tool-rate 0.35 --tool-accuracy 1.0)
[ "${#toy[@]}" = 4 ] || { say "The toy was not made; the reason is above."; exit 1; }

for seed in $SEEDS; do
    for arm in grpo axpo grpo_25 axpo_random axpo_fresh; do
        run=$FOLDER/runs/$arm-$seed
        [ -e "$run/trajectories/val/$STEPS.jsonl" ] && continue
        say "$(date +%H:%M) $arm, seed $seed"
        read -ra overrides <<<"${ARMS[$arm]}"
        verl-mapo train --run "$run" --timeout-h 0.5 method=axpo task=toy "${toy[@]}" \
            data.seed="$seed" visual_tool.seed="$seed" trainer.total_training_steps="$STEPS" \
            trainer.val_before_train=false trainer.test_freq="$STEPS" trainer.save_freq=10 \
            trainer.max_actor_ckpt_to_keep=1 actor_rollout_ref.rollout.val_kwargs.n=4 \
            ${overrides[@]+"${overrides[@]}"}
        rm -rf "$run/checkpoints"
    done
done
python scripts/study.py "$FOLDER"
