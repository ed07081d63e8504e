#!/usr/bin/env bash
# Does AXPO help on the toy? Five arms with three seeds, from a warm start that calls the tool in about 30 % of its
# rollouts.
#
#   scripts/study_axpo.sh [FOLDER]          # runs/study_axpo by default
#
# At most 3 hours on two cores: 15 runs of STEPS (30) steps, each with one validation of 256 questions x 4 rollouts, two
# at a time if memory allows (settings: scripts/arms.sh). After an interruption, run it again to continue. The table and
# the figure, at any time:
#
#   python scripts/study.py FOLDER --figure docs/evidence_axpo.png
set -euo pipefail
cd "$(dirname "$0")/.."
STEPS=${STEPS:-30}
. scripts/environment.sh
. scripts/arms.sh

FOLDER=${1:-runs/study_axpo}
ARMS=(
    "grpo           algorithm.adv_estimator=grpo"
    "axpo"
    "grpo_25        algorithm.adv_estimator=grpo actor_rollout_ref.rollout.n=10"
    "axpo_random    algorithm.axpo.prefix_rank=random"
    "axpo_fresh     algorithm.axpo.fix_prefix=false"
)

create_environment .venv cpu
export PATH="$PWD/.venv/bin:$PATH"
make_toy "$FOLDER/toy"
train_arms "$FOLDER" method=axpo "${toy[@]}"
python scripts/study.py "$FOLDER"
