# Trains the arms of a study, each with each seed. Sourced, after environment.sh, by the studies:
#
#   ARMS=("grpo algorithm.adv_estimator=grpo" "axpo")   # a name and its overrides, in the order in which they are begun
#   train_arms FOLDER OVERRIDES...                      # FOLDER/runs/ARM-SEED, with overrides that all arms share
#
# STEPS (set by the study), SEEDS (1 2 3), HOURS (3; no run is begun in the last half hour, and none takes longer than
# that), JOBS (2 runs at once, but no more than there is free memory for). What is finished is skipped, what was cut goes
# on from its last checkpoint. After a run that failed no other is begun, and train_arms returns 1.

SEEDS=${SEEDS:-1 2 3}
HOURS=${HOURS:-3}
JOBS=${JOBS:-2}

# make_toy FOLDER: the toy that calls a tool in about 30 % of its rollouts; its overrides go to the array "toy".
make_toy() {
    mapfile -t toy < <(verl-mapo toy --out "$1" --tool-rate 0.3 --tool-accuracy 0.5)
    [ "${#toy[@]}" = 4 ] || { say "The toy was not made; the reason is above."; return 1; }
}

train_arms() {
    local folder=$1 seed line arm overrides under_way=0 failed=0 at_once
    shift
    at_once=$(runs_that_fit "$JOBS")
    trap '_end_runs' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    for seed in $SEEDS; do
        for line in "${ARMS[@]}"; do
            read -r arm overrides <<<"$line"
            [ ! -e "$folder/runs/$arm-$seed/trajectories/val/$STEPS.jsonl" ] || continue
            [ "$under_way" -lt "$at_once" ] || _wait_for_one
            [ "$failed" = 0 ] || break 2
            if [ "$SECONDS" -gt $((HOURS * 3600 - 1800)) ]; then
                say "No further run is begun: $HOURS hours are nearly over. The same command goes on from here."
                break 2
            fi
            say "$(date +%H:%M) $arm, seed $seed"
            # shellcheck disable=SC2086  # overrides are words
            _train_arm "$folder/runs/$arm-$seed" "$seed" "$@" $overrides &
            under_way=$((under_way + 1))
        done
    done
    while [ "$under_way" -gt 0 ]; do _wait_for_one; done
    trap - EXIT INT TERM
    return "$failed"
}

# _train_arm RUN SEED OVERRIDES...: one run, in the background; its output goes to RUN/progress.log.
_train_arm() {
    local run=$1 seed=$2 training
    shift 2
    mkdir -p "$run"
    verl-mapo train --run "$run" --timeout-h 0.5 task=toy data.seed="$seed" visual_tool.seed="$seed" \
        trainer.total_training_steps="$STEPS" trainer.val_before_train=false trainer.test_freq="$STEPS" \
        trainer.save_freq=10 trainer.max_actor_ckpt_to_keep=1 actor_rollout_ref.rollout.val_kwargs.n=4 \
        "$@" >>"$run/progress.log" 2>&1 &
    training=$!
    trap 'kill "$training" 2>/dev/null; wait "$training"; exit 143' TERM
    wait "$training" || { say "$run failed; see $run/progress.log."; return 1; }
    rm -rf "$run/checkpoints"
}

# _wait_for_one: until one of the runs under way has ended; counts it, and whether any failed, for train_arms.
_wait_for_one() {
    wait -n || failed=1
    under_way=$((under_way - 1))
}

# _end_runs: ask the runs under way to stop, and wait until they have.
_end_runs() {
    local pids
    trap - EXIT
    pids=$(jobs -p)
    # shellcheck disable=SC2086  # pids are words
    [ -z "$pids" ] || { kill $pids 2>/dev/null || true; wait; }
}
