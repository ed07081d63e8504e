#!/usr/bin/env bash
# When is MAPO's gradient better than GRPO's? Nine points of the toy: a guess is right in 10, 33 or 50 % of the cases, and
# the policy is the warm start, or the same after 15 or 30 steps of GRPO. At each point the rollouts are scored again by
# five scorers (scripts/dials.py).
#
#   scripts/dials.sh [FOLDER]               # runs/dials by default
#
# Each part is one of: a toy (8 minutes on one free core; the one with 10 letters is there at once), a training (8 minutes
# on two free cores), a collection with its measurement (12 minutes). No part begins after MINUTES (40), so call it again
# until it says that all points are there. A point whose file RESULTS/letters_N-step_S.json exists is skipped, and these
# files are all that has to be kept. Settings: MINUTES; LETTERS (10 2 3); STARTS (0 15 30); QUESTIONS (64); DRAWS (100) of
# the bootstrap; RESULTS (docs/evidence/dials); ENVIRONMENT as in quickstart.sh. The table and the figure, at any time:
#
#   python scripts/dials.py show docs/evidence/dials --figure docs/evidence_dials.png
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh

FOLDER=$(realpath -m "${1:-runs/dials}")
MINUTES=${MINUTES:-40}
LETTERS=${LETTERS:-10 2 3}
STARTS=${STARTS:-0 15 30}
QUESTIONS=${QUESTIONS:-64}
DRAWS=${DRAWS:-100}
RESULTS=${RESULTS:-docs/evidence/dials}
ENVIRONMENT=${ENVIRONMENT-.venv}
CHECKPOINT=actor_rollout_ref.actor.checkpoint.save_contents

# time_is_left: ends the script where no further part may begin.
time_is_left() {
    [ "$SECONDS" -le $((MINUTES * 60)) ] || { say "The $MINUTES minutes are over. Run the same command again to continue."; exit 0; }
}

# train_grpo RUN STEPS: trains GRPO from the warm start up to a step and keeps its model; goes on where RUN has ended.
train_grpo() {
    [ "$(cat "$1/checkpoints/latest_checkpointed_iteration.txt" 2>/dev/null || echo 0)" -lt "$2" ] || return 0
    time_is_left
    say "$(date +%H:%M) GRPO, up to step $2, $1"
    verl-mapo train --run "$1" --timeout-h 0.6 task=toy method=grpo "${toy[@]}" "$CHECKPOINT=[model,optimizer,extra,hf_model]" \
        trainer.total_training_steps="$2" trainer.save_freq=15 trainer.val_before_train=false trainer.test_freq=-1
}

use_environment
for letters in $LETTERS; do
    shared=()
    [ "$letters" -ge 5 ] || shared=(--shared-letters)
    for start in $STARTS; do
        result=$RESULTS/letters_$letters-step_$start.json
        [ ! -e "$result" ] || continue
        time_is_left
        eval "toy=($(verl-mapo toy --out "$FOLDER/toy" --letters "$letters" "${shared[@]}"))" # quoted for a shell
        [ "${#toy[@]}" = 4 ] || { say "The toy was not made; the reason is above."; exit 1; }
        model=()
        if [ "$start" != 0 ]; then
            train_grpo "$FOLDER/grpo-$letters" "$start"
            model=("actor_rollout_ref.model.path=$FOLDER/grpo-$letters/checkpoints/global_step_$start/actor/huggingface")
        fi
        time_is_left
        run=$FOLDER/lens-$letters-$start
        scenes=${toy[1]#*=} # the held-out questions, on which nothing was trained
        say "$(date +%H:%M) lens, $letters letters, after $start steps"
        verl-mapo lens --run "$run" --timeout-h 0.6 --questions "$QUESTIONS" --draws 1 task=toy "${toy[@]}" "${model[@]}" \
            "data.train_files=$scenes"
        python scripts/dials.py measure "$run" --scenes "$scenes" --letters "$letters" --start "$start" --draws "$DRAWS" \
            --out "$result"
        rm -rf "$run/lens" # 130 MB
    done
done
say "All points are there."
python scripts/dials.py show "$RESULTS" --figure docs/evidence_dials.png
