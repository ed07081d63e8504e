# Trains the arms of a study with every seed. The studies source it after environment.sh:
#
#   ARMS=("grpo algorithm.adv_estimator=grpo" "axpo")   # name and overrides of each arm, in the order of training
#   train_arms FOLDER OVERRIDES...                      # runs FOLDER/runs/ARM-SEED, with overrides for all arms
#
# Settings: STEPS (set by the study); SEEDS (1 2 3); MINUTES (180: no run starts in the last RUN_MINUTES); RUN_MINUTES (30,
# the time limit of a run); JOBS (2 runs at once, or fewer if memory is short). Complete runs are skipped, and interrupted
# runs continue from their last checkpoint. After a run has failed, no other run starts, and train_arms returns 1.
# With RESULTS, a complete run is reduced to RESULTS/ARM-SEED.json (scripts/study_mapo.py), and a run with such a file is
# skipped, whether its folder is still there or not.

SEEDS=${SEEDS:-1 2 3}
MINUTES=${MINUTES:-180}
RUN_MINUTES=${RUN_MINUTES:-30}
JOBS=${JOBS:-2}
RESULTS=${RESULTS:-}

# make_toy FOLDER: makes a toy whose model calls the tool in about 30 % of its rollouts; sets the array "toy" to the
# overrides that use it.
make_toy() {
    eval "toy=($(verl-mapo toy --out "$1" --tool-rate 0.3 --tool-accuracy 0.5))"  # they are quoted for a shell
    [ "${#toy[@]}" = 4 ] || { say "The toy was not made; the reason is above."; return 1; }
}

train_arms() {
    local folder=$1 seed line arm overrides running=0 failed=0 at_once
    shift
    at_once=$(runs_that_fit "$JOBS")
    trap '_end_runs' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    for seed in $SEEDS; do
        for line in "${ARMS[@]}"; do
            read -r arm overrides <<<"$line"
            ! _is_complete "$folder" "$arm-$seed" || continue
            [ "$running" -lt "$at_once" ] || _wait_for_one
            [ "$failed" = 0 ] || break 2
            if [ "$SECONDS" -gt $(((MINUTES - RUN_MINUTES) * 60)) ]; then
                say "No further run starts: the $MINUTES minutes are nearly over. Run the same command again to continue."
                break 2
            fi
            say "$(date +%H:%M) $arm, seed $seed"
            # shellcheck disable=SC2086  # overrides are words
            _train_arm "$folder/runs/$arm-$seed" "$seed" "$@" $overrides &
            running=$((running + 1))
        done
    done
    while [ "$running" -gt 0 ]; do _wait_for_one; done
    trap - EXIT INT TERM
    return "$failed"
}

# _is_complete FOLDER ARM-SEED: whether there is nothing left to do for a run.
_is_complete() {
    if [ -n "$RESULTS" ]; then [ -e "$RESULTS/$2.json" ]; else [ -e "$1/runs/$2/trajectories/val/$STEPS.jsonl" ]; fi
}

# _train_arm RUN SEED OVERRIDES...: trains one run, unless that is done, and reduces it.
_train_arm() {
    local run=$1
    [ -e "$run/trajectories/val/$STEPS.jsonl" ] || _train "$@" || return 1
    [ -z "$RESULTS" ] || python scripts/study_mapo.py reduce "$run" --out "$RESULTS/$(basename "$run").json" || return 1
    rm -rf "$run/checkpoints"
}

# _train RUN SEED OVERRIDES...: trains one run, with its output in RUN/progress.log.
_train() {
    local run=$1 seed=$2 training
    shift 2
    mkdir -p "$run"
    verl-mapo train --run "$run" --timeout-h "$(awk "BEGIN {print $RUN_MINUTES / 60}")" \
        task=toy data.seed="$seed" visual_tool.seed="$seed" \
        trainer.total_training_steps="$STEPS" trainer.val_before_train=false trainer.test_freq="$STEPS" \
        trainer.save_freq=10 trainer.max_actor_ckpt_to_keep=1 actor_rollout_ref.rollout.val_kwargs.n=4 \
        "$@" >>"$run/progress.log" 2>&1 &
    training=$!
    trap 'kill "$training" 2>/dev/null; wait "$training"; exit 143' TERM
    wait "$training" || { say "$run failed; see $run/progress.log."; return 1; }
}

# _wait_for_one: waits until one of the running jobs has ended, and updates train_arms' counters.
_wait_for_one() {
    wait -n || failed=1
    running=$((running - 1))
}

# _end_runs: stops the running jobs and waits until they have ended.
_end_runs() {
    local pids
    trap - EXIT
    pids=$(jobs -p)
    # shellcheck disable=SC2086  # pids are words
    [ -z "$pids" ] || { kill $pids 2>/dev/null || true; wait; }
}
