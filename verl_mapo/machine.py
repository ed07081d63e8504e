# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What a machine offers to a run, and in words what would fail on it; ``verl-mapo doctor`` prints both."""

from __future__ import annotations

import importlib
import importlib.util
import re
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

FLASH_ATTENTION = "flash_attention_2"
"""verl's default of ``actor_rollout_ref.model.override_config.attn_implementation``."""

INSTALL_FLASH_ATTENTION = 'pip install --no-build-isolation "verl-mapo[gpu,flash-attn]"'

LEAST_DRIVER = {12: 525, 13: 580}
"""Major version of CUDA to the oldest major version of the NVIDIA driver for Linux, by NVIDIA's release notes."""

GB = 10**9

_OFFLOADED_GB = 190
"""Host memory in GB of the offloaded weights and AdamW states of Qwen2.5-VL-7B: 12 bytes for each of 15.7 billion
elements, to which PyTorch rounds up its 8.3 billion parameters (planning/arithmetic.py)."""


@dataclass(frozen=True)
class Machine:
    """What was found on a machine; sizes are in bytes.

    Attributes:
        torch: version of torch; empty where it is not installed.
        cuda: version of CUDA that torch was built for; empty for a build without it.
        usable: number of GPUs that torch can use.
        driver: version of the NVIDIA driver; empty without one.
        gpus: name and memory of each GPU.
        flash_attention: why flash_attn cannot be imported; empty where it can.
        shm: size of /dev/shm, and what is free of it; None where it does not exist.
        memory: host memory, or the limit of the container.
        open_files: ``ulimit -n``.
    """

    torch: str
    cuda: str
    usable: int
    driver: str
    gpus: tuple[str, ...]
    flash_attention: str
    shm: tuple[int, int] | None
    memory: int
    open_files: int

    @classmethod
    def found(cls) -> Machine:
        """Look at this machine; flash_attn is imported only where there is a GPU."""
        driver, gpus = _nvidia_smi()
        torch = importlib.import_module("torch") if importlib.util.find_spec("torch") else None
        usable = torch.cuda.device_count() if torch and torch.cuda.is_available() else 0
        shm = shutil.disk_usage("/dev/shm") if Path("/dev/shm").is_dir() else None
        return cls(
            torch=torch.__version__ if torch else "",
            cuda=torch.version.cuda or "" if torch else "",
            usable=usable,
            driver=driver,
            gpus=gpus,
            flash_attention=flash_attention_fault() if usable or gpus else "",
            shm=(shm.total, shm.free) if shm else None,
            memory=_memory(),
            open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        )


@dataclass(frozen=True)
class Fact:
    """One line about a machine.

    Attributes:
        what: what it is about.
        found: what was found.
        level: whether a run works, works worse, or fails.
        words: what will happen and what to do; empty where nothing is wrong.
    """

    what: str
    found: str
    level: Literal["ok", "warns", "fails"] = "ok"
    words: str = ""


def facts(machine: Machine, attention: str = FLASH_ATTENTION) -> list[Fact]:
    """The lines about a machine.

    Args:
        machine: what was found.
        attention: the attention implementation of the planned run.
    """
    return [*_accelerator(machine, attention), *_host(machine)]


def _accelerator(machine: Machine, attention: str) -> Iterator[Fact]:
    if not machine.torch:
        yield Fact("torch", "not installed", "fails", "Nothing runs: install verl-mapo with an extra, [gpu] or [cpu].")
        return
    build = f"{machine.torch}, for CUDA {machine.cuda}" if machine.cuda else f"{machine.torch}, without CUDA"
    if not machine.gpus and not machine.usable:
        yield Fact("torch", build)
        yield Fact("NVIDIA driver", machine.driver or "none")
        yield Fact("GPUs", "none", "warns", "Runs take the CPU stack (stack=cpu), for tiny models.")
        yield Fact("flash-attn", "not needed: stack=cpu uses sdpa")
        return
    yield _torch(machine, build)
    yield _driver(machine)
    yield Fact("GPUs", "; ".join(machine.gpus) or f"{machine.usable} that torch can use")
    if attention != FLASH_ATTENTION:
        yield Fact("flash-attn", f"not needed by {attention}")
    elif machine.flash_attention:
        words = f"Every run fails when the model is loaded: {flash_attention_remedy()}"
        yield Fact("flash-attn", machine.flash_attention, "fails", words)
    else:
        yield Fact("flash-attn", "can be imported")


def _torch(machine: Machine, build: str) -> Fact:
    if not machine.cuda:
        words = 'This torch sees no GPU: install verl\'s own pins with pip install "verl-mapo[gpu]".'
        return Fact("torch", build, "fails", words)
    if not machine.usable:
        words = "torch can use none of the GPUs: look at the driver, CUDA_VISIBLE_DEVICES and the container's options."
        return Fact("torch", build, "fails", words)
    return Fact("torch", build)


def _driver(machine: Machine) -> Fact:
    least = LEAST_DRIVER.get(int(machine.cuda.partition(".")[0] or 0))
    found = re.match(r"\d+", machine.driver)
    if least and found and int(found[0]) < least:
        words = f"CUDA {machine.cuda} needs driver {least} or newer: update it, or install a torch for an older CUDA."
        return Fact("NVIDIA driver", machine.driver, "fails", words)
    return Fact("NVIDIA driver", machine.driver or "not known: nvidia-smi does not answer")


def _host(machine: Machine) -> Iterator[Fact]:
    memory = f"{machine.memory / GB:.0f} GB"
    if machine.memory < 10 * GB:
        yield Fact("host memory", memory, "fails", "A run of the CPU stack takes 10 GB; ray ends workers before that.")
    elif machine.gpus and machine.memory < _OFFLOADED_GB * GB:
        words = (
            f"The recipes of 7B and 8B models offload weights and optimizer to the host, about {_OFFLOADED_GB} GB on "
            "all nodes of a run together: use a smaller model, or fsdp_config.param_offload=false and "
            "optimizer_offload=false if the GPUs have room."
        )
        yield Fact("host memory", memory, "warns", words)
    else:
        yield Fact("host memory", memory)
    yield _shm(machine)
    if machine.open_files < 8192:
        words = "ray and the data loader of 8 GPUs open more files: ulimit -n 65536 before the run."
        yield Fact("open files (ulimit -n)", str(machine.open_files), "warns", words)
    else:
        yield Fact("open files (ulimit -n)", str(machine.open_files))


def _shm(machine: Machine) -> Fact:
    if machine.shm is None:
        return Fact("/dev/shm", "missing", "fails", "ray and NCCL share memory there: mount it.")
    total, free = machine.shm
    found = f"{free / GB:.1f} of {total / GB:.1f} GB free"
    option = f"start the container with --shm-size={max(machine.memory // 2 // GB, 1)}g, or --ipc=host"
    if machine.gpus and free < GB:
        return Fact("/dev/shm", found, "fails", f"NCCL and vLLM end with a bus error or no space left: {option}.")
    if free < 0.3 * machine.memory:
        words = f"ray's object store takes 30 % of the memory and is put on the disk, which is slow: {option}."
        return Fact("/dev/shm", found, "warns", words)
    return Fact("/dev/shm", found)


def flash_attention_fault() -> str:
    """Why flash_attn cannot be imported; empty where it can, or where transformers takes it from ``kernels``."""
    if importlib.util.find_spec("flash_attn") is None:
        return "" if importlib.util.find_spec("kernels") else "not installed"
    try:
        importlib.import_module("flash_attn")
    except Exception as error:  # a wheel for another torch fails with any kind of error
        return f"cannot be imported: {error}".partition("\n")[0]
    return ""


def flash_attention_remedy() -> str:
    """What to do without flash_attn, as the end of a sentence."""
    return (
        f"{INSTALL_FLASH_ATTENTION}, or set +actor_rollout_ref.model.override_config.attn_implementation=sdpa and "
        "actor_rollout_ref.model.use_remove_padding=false, which is slower."
    )


def _nvidia_smi() -> tuple[str, tuple[str, ...]]:
    """Version of the driver, and name and memory of each GPU; empty where nvidia-smi does not answer."""
    query = ["nvidia-smi", "--query-gpu=driver_version,name,memory.total", "--format=csv,noheader"]
    with suppress(OSError, subprocess.SubprocessError):
        lines = subprocess.run(query, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()
        rows = [[cell.strip() for cell in line.split(",")] for line in lines if line.count(",") == 2]
        return rows[0][0] if rows else "", tuple(f"{name}, {memory}" for _, name, memory in rows)
    return "", ()


def _memory() -> int:
    """Host memory in bytes, or the limit of the container (control groups v2 or v1) if that is less."""
    limits = [psutil.virtual_memory().total]
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            limits.append(int(Path(file).read_text()))
    return min(limits)
