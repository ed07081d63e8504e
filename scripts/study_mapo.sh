#!/usr/bin/env bash
# Does MAPO train better than GRPO, DAPO and GSPO on the toy, and is it what the scores say? Six arms from one warm start,
# at one point of the toy; write the prediction first (docs/predictions/study_mapo.md).
#
#   scripts/study_mapo.sh LETTERS [FOLDER]   # 10, 3 or 2 letters; runs/study_mapo-LETTERS by default
#
# 22 runs of STEPS (20) steps of 8 questions x 8 rollouts with two updates each, and one validation of 128 questions x 4
# rollouts: about 5 minutes of two free cores a run, two at a time if memory allows. GRPO and MAPO come first, seed by
# seed, then the placebo (scores exchanged within the group), beta = 0, DAPO and GSPO. PPO is left out: verl loads a critic
# with FlashAttention, which needs a GPU (recipes/baselines/README.md). No run starts in the last RUN_MINUTES (20) of
# MINUTES (50); run the same command again to continue. All that has to be kept is RESULTS
# (docs/evidence/study_mapo/letters_LETTERS), a JSON file a run. Further settings: SEEDS (1 2 3 4 5 of GRPO and MAPO);
# OTHER_SEEDS (1 2 3); OTHERS (the other arms, "mapo_shuffled mapo_beta0 dapo gspo"); an empty list of these means no such
# runs; MODEL, the folder of another policy to begin with; ENVIRONMENT as in quickstart.sh; scripts/arms.sh. The table and
# the figure, at any time:
#
#   python scripts/study_mapo.py show docs/evidence/study_mapo/letters_LETTERS --figure FILE.png
set -euo pipefail
cd "$(dirname "$0")/.."
LETTERS=${1:?Give the number of letters: 10, 3 or 2.}
FOLDER=$(realpath -m "${2:-runs/study_mapo-$LETTERS}")
STEPS=${STEPS:-20}
MINUTES=${MINUTES:-50}
RUN_MINUTES=${RUN_MINUTES:-20}
RESULTS=${RESULTS:-docs/evidence/study_mapo/letters_$LETTERS}
GRPO_AND_MAPO_SEEDS=${SEEDS-1 2 3 4 5}
OTHER_SEEDS=${OTHER_SEEDS-1 2 3}
OTHERS=${OTHERS-mapo_shuffled mapo_beta0 dapo gspo}
ENVIRONMENT=${ENVIRONMENT-.venv}
. scripts/environment.sh
. scripts/arms.sh

others=()
for arm in $OTHERS; do
    case $arm in
        mapo_shuffled) others+=("$arm method=mapo algorithm.adv_estimator=shuffled_mapo.ShuffledMapo") ;;
        mapo_beta0) others+=("$arm method=mapo algorithm.mapo.beta=0") ;;
        dapo | gspo) others+=("$arm method=$arm") ;;
        *) say "OTHERS=$arm is refused: choose among mapo_shuffled, mapo_beta0, dapo and gspo."; exit 2 ;;
    esac
done

use_environment
export PYTHONPATH="$PWD/scripts/placebo${PYTHONPATH:+:$PYTHONPATH}"
mkdir -p "$RESULTS"
shared=()
[ "$LETTERS" -ge 5 ] || shared=(--shared-letters)
eval "toy=($(verl-mapo toy --out "$FOLDER/toy" --letters "$LETTERS" "${shared[@]}"))" # quoted for a shell
[ "${#toy[@]}" = 4 ] || { say "The toy was not made; the reason is above."; exit 1; }
[ -z "${MODEL:-}" ] || toy+=("actor_rollout_ref.model.path=$(realpath "$MODEL")")

# the rate of the quickstart: a constant rate loses again what was learnt
OPTIM=actor_rollout_ref.actor.optim
SAME=("${toy[@]}" data.val_max_samples=128 actor_rollout_ref.actor.ppo_mini_batch_size=4
    "$OPTIM.lr_scheduler_type=cosine" "$OPTIM.lr_warmup_steps=2" "$OPTIM.min_lr_ratio=0.1")
ARMS=("grpo method=grpo" "mapo method=mapo")
SEEDS=$GRPO_AND_MAPO_SEEDS
train_arms "$FOLDER" "${SAME[@]}"

ARMS=("${others[@]}")
SEEDS=$OTHER_SEEDS
train_arms "$FOLDER" "${SAME[@]}"
python scripts/study_mapo.py show "$RESULTS" --figure "docs/evidence_mapo_letters_$LETTERS.png"
