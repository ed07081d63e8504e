#!/usr/bin/env bash
# Does VGPO help on the toy, which of its factors do, and do the three methods together help more than each alone? Eight
# arms with three seeds, from the warm start of study_axpo.sh.
#
#   scripts/study_vgpo.sh [FOLDER]          # runs/study_vgpo by default
#
# At most 3 hours on two cores: 24 runs of STEPS (15) steps, each with one validation of 256 questions x 4 rollouts, two
# at a time if memory allows (settings: scripts/arms.sh). After an interruption, run it again to continue. The tables
# and the figures, at any time:
#
#   python scripts/study.py FOLDER --base dapo --arms intra inter vgpo adjacent --figure docs/evidence_vgpo.png
#   python scripts/study.py FOLDER --base all --arms mapo axpo vgpo --figure docs/evidence_all.png
#
# All arms have DAPO's clip range and token-mean loss. The first five also have its dynamic sampling, as in VGPO's
# paper: they train on mixed groups only, and a step makes rollouts until there are enough. The arms with AXPO or MAPO
# do not, because these methods learn from groups that dynamic sampling drops.
set -euo pipefail
cd "$(dirname "$0")/.."
STEPS=${STEPS:-15}
. scripts/environment.sh
. scripts/arms.sh

FOLDER=${1:-runs/study_vgpo}
DAPO="method=vgpo algorithm.filter_groups.enable=true"
ARMS=(
    "dapo       $DAPO algorithm.adv_estimator=grpo"
    "vgpo       $DAPO"
    "intra      $DAPO algorithm.visual_credit.inter=false"
    "inter      $DAPO algorithm.visual_credit.intra=false"
    "adjacent   $DAPO algorithm.visual_credit.group=official"
    "mapo       method=mapo"
    "axpo       method=axpo"
    "all        method=axpo algorithm.axpo.alignment=true algorithm.visual_credit.enable=true"
)

create_environment .venv cpu
export PATH="$PWD/.venv/bin:$PATH"
make_toy "$FOLDER/toy"
train_arms "$FOLDER" "${toy[@]}" actor_rollout_ref.actor.clip_ratio_low=0.2 actor_rollout_ref.actor.clip_ratio_high=0.28 \
    actor_rollout_ref.actor.loss_agg_mode=token-mean
python scripts/study.py "$FOLDER" --base dapo --arms intra inter vgpo adjacent
python scripts/study.py "$FOLDER" --base all --arms mapo axpo vgpo
