#!/usr/bin/env bash
# Two steps of MAPO on one GPU, with random weights in the shape of Qwen2.5-VL-3B, and what they cost beside the plan.
# docs/performance.md has what came out on an H100.
#
#   scripts/gpu_smoke.sh [ENVIRONMENT] [OVERRIDE ...]      # .venv by default; "": the packages of the active environment
#   SMOKE_CPU=1 scripts/gpu_smoke.sh                       # its rehearsal: the same steps without a GPU, at tiny shapes
#
# FOLDER (runs/gpu_smoke) gets everything; what is complete there is kept. RECIPE is the recipe; SHAPE is 3b (default) or
# 7b. MODEL is the folder of a released model, whose tokenizer, processor and config.json are then used; without it, the
# toy's tokenizer is filled up to the released ids. Only packages are downloaded. On an H100 it takes about 20 minutes
# after the first step, 85 GB of host memory and 25 GB of disk (calculated from shorter runs, docs/performance.md).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh

ENVIRONMENT=${1-.venv}
OWN=("${@:2}")
FOLDER=${FOLDER:-runs/gpu_smoke}
RECIPE=${RECIPE:-recipes/mapo/qwen2_5_vl_3b_lora.yaml}
SHAPE=${SHAPE:-3b} MODEL=${MODEL:-}
DEVICE=cuda EXTRAS=gpu SHAPES=(3b 7b) STACK=() PLACE=() FOCUS=() SCORING=()
if [ -n "${SMOKE_CPU:-}" ]; then
    DEVICE=cpu EXTRAS=cpu SHAPE=tiny SHAPES=(tiny) STACK=(stack=cpu) PLACE=(--gpu-memory 80)
    FOCUS=(--repeats 1 --pairs 2) SCORING=(--crops 8 --rounds 1)
fi
RUN=$FOLDER/run MEMORY=$FOLDER/memory.jsonl MEASURED=$FOLDER/measured.md
mkdir -p "$FOLDER"

trap 'say "This step failed; the reason is above. Run the script again to continue: what is complete is kept."' ERR
stop() { say "$*"; exit 1; }
smoke() { python scripts/gpu_smoke.py "$@"; }
note() { tee -a "$MEASURED"; }

say "1/7 Environment"
if [ -n "$ENVIRONMENT" ]; then
    create_environment "$ENVIRONMENT" "$EXTRAS" || stop "The environment was not made; the reason is above."
    PATH="$(cd "$ENVIRONMENT" && pwd)/bin:$PATH"
    if [ "$DEVICE" = cuda ] && ! python -c "import flash_attn" 2>/dev/null; then
        say "Installing flash-attn, which may be compiled for a long time ..."
        _pip "$ENVIRONMENT" install --no-build-isolation --editable ".[gpu,flash-attn]" || stop "flash-attn is missing."
    fi
fi
export PATH OMP_NUM_THREADS=1
export VLLM_LOGGING_LEVEL=INFO # step 5 reads the size of the KV cache, which verl's default, WARN, leaves out
if [ "$DEVICE" = cpu ]; then
    export VLLM_CPU_KVCACHE_SPACE=1
    variables=$(python -c "from verl_mapo.platforms.cpu import environment; print(*map('='.join, environment().items()))")
    export $variables
fi
verl-mapo doctor || say "Some runs would fail on this machine, see above; step 3 decides for this one."

say "2/7 Model with random weights ($SHAPE), a CLIP with random weights, and data"
given=$(smoke prepare --recipe "$RECIPE" --shape "$SHAPE" --model "$MODEL" "$FOLDER" "${OWN[@]}") ||
    stop "Model and data were not made; the reason is above."
eval "overrides=($given)" # they are quoted for a shell

say "3/7 What the run needs"
verl-mapo doctor --recipe "$RECIPE" "${PLACE[@]}" "${STACK[@]}" "${overrides[@]}" ||
    stop "The run would not fit; the reason is above. Overrides may follow: scripts/gpu_smoke.sh .venv SETTING=VALUE ..."

say "4/7 Two steps of MAPO (log in $RUN/train.log)"
if [ "$(cat "$RUN/checkpoints/latest_checkpointed_iteration.txt" 2>/dev/null)" = 2 ]; then
    say "They are complete already."
else
    rm -f "$MEMORY"
    python scripts/gpu_smoke.py sample "$MEMORY" & # no function: the process itself has to be ended
    sampler=$!
    trap 'kill "$sampler" 2>/dev/null || true' EXIT
    until [ -s "$MEMORY" ]; do
        kill -0 "$sampler" 2>/dev/null || stop "The memory in use cannot be read; the reason is above."
        sleep 1
    done
    verl-mapo train --recipe "$RECIPE" --run "$RUN" --timeout-h 3 "${overrides[@]}" || stop "The two steps failed."
    kill "$sampler"
fi

say "5/7 Step time, and memory against the plan"
{
    [ "$DEVICE" = cuda ] || printf 'A rehearsal without a GPU, at tiny shapes: its figures say nothing about a GPU.\n\n'
    printf '`scripts/gpu_smoke.sh`, %s, %s, shape %s, %s\n\n' "$(date +%F)" "$(basename "$RECIPE")" "$SHAPE" \
        "$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader --id="${CUDA_VISIBLE_DEVICES:-0}" 2>/dev/null || echo "no GPU")"
} >"$MEASURED"
smoke compare --recipe "$RECIPE" "${PLACE[@]}" "$FOLDER" "${STACK[@]}" "${overrides[@]}" | note

say "6/7 Focus scores, and the log-prob pass with them, over 4 layers of the real width"
for shape in "${SHAPES[@]}"; do
    printf '\nFocus, shape %s, %s\n\n' "$shape" "$DEVICE" | note
    python scripts/bench_focus.py --device "$DEVICE" --shape "$shape" "${FOCUS[@]}" | note
done

say "7/7 Scoring on the device: alone, and while vLLM generates there"
scoring=(python scripts/bench_scoring.py --device "$DEVICE" --model "$FOLDER/scorer" "${SCORING[@]}")
printf '\nScoring alone, %s\n\n' "$DEVICE" | note
"${scoring[@]}" | note
printf '\nScoring beside vLLM, %s\n\n' "$DEVICE" | note
smoke beside "$FOLDER" -- "${scoring[@]}" | note

say "Measured; paste it into docs/performance.md:"
cat "$MEASURED"
