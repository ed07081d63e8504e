# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The CPU as a device of verl: the platform class, and this module as the platform's *device module*.

verl uses a device module as it uses ``torch.cuda``. ``torch.cpu`` has no functions for memory and random numbers, so
this module adds them: memory is the resident memory of this process, in bytes, and the functions that manage the cache
of an accelerator do nothing. Import this module after verl: verl's own import of the plugin imports it.
"""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch
from torch.cpu import Event, Stream, current_stream, device_count, set_device, stream, synchronize
from verl.plugin.platform import PlatformBase

__all__ = [
    "CPUPlatform",
    "Event",
    "Stream",
    "current_device",
    "current_stream",
    "device_count",
    "empty_cache",
    "get_device_name",
    "get_rng_state",
    "ipc_collect",
    "is_available",
    "manual_seed",
    "manual_seed_all",
    "max_memory_allocated",
    "max_memory_reserved",
    "mem_get_info",
    "memory_allocated",
    "memory_reserved",
    "set_device",
    "set_rng_state",
    "stream",
    "synchronize",
]


def is_available() -> bool:
    """False: if it were True, verl would measure accelerator memory and empty its cache."""
    return False


def current_device() -> torch.device:
    """The CPU as a device, not as an index: ``tensor.to(0)`` would move a tensor to the first accelerator."""
    return torch.device("cpu")


def get_device_name(device: int | None = None) -> str:
    """A name that is missing from verl's table of FLOPs, so that verl reports no utilisation."""
    return "CPU"


def memory_allocated(device: int | None = None) -> int:
    """Resident memory of this process, in bytes."""
    return psutil.Process().memory_info().rss


def max_memory_allocated(device: int | None = None) -> int:
    """The peak resident memory of this process, in bytes (Linux reports it in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


memory_reserved = memory_allocated
max_memory_reserved = max_memory_allocated


def mem_get_info(device: int | None = None) -> tuple[int, int]:
    """(available, total) memory of the machine, in bytes."""
    memory = psutil.virtual_memory()
    return memory.available, memory.total


def empty_cache() -> None:
    """Do nothing: a CPU has no cache of freed memory."""


def ipc_collect() -> None:
    """Do nothing: no memory is shared through the driver of an accelerator."""


def get_rng_state(device: int | None = None) -> torch.Tensor:
    """The state of torch's CPU generator, uint8 of shape (5056,)."""
    return torch.get_rng_state()


def set_rng_state(state: torch.Tensor, device: int | None = None) -> None:
    """Set the state of torch's CPU generator to one that :func:`get_rng_state` returned."""
    torch.set_rng_state(state)


def manual_seed(seed: int) -> None:
    """Seed torch's CPU generator."""
    torch.manual_seed(seed)


manual_seed_all = manual_seed


class CPUPlatform(PlatformBase):
    """The CPU as verl's device. In ray it is a *logical* GPU, because verl asks ray for GPUs on every platform."""

    device_name = "cpu"
    vendor_name = "cpu"
    device_module = sys.modules[__name__]

    def is_available(self) -> bool:
        """True: every machine has a CPU."""
        return True

    def is_platform_available(self, use_smi_check: bool = False) -> bool:
        """False, so that verl never detects this platform: an actor without GPU in a GPU run would choose it."""
        return False

    def current_device(self) -> torch.device:
        """See the function :func:`current_device`."""
        return current_device()

    def device_count(self) -> int:
        """The number of devices of one process, 1."""
        return device_count()

    def set_device(self, device_index: int) -> None:
        """Do nothing: there is one device."""
        set_device(device_index)

    def synchronize(self, device_index: int | None = None) -> None:
        """Do nothing: work on the CPU is synchronous."""
        synchronize(device_index)

    def manual_seed(self, seed: int) -> None:
        """Seed torch's CPU generator."""
        manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        """Seed torch's CPU generator, the only one there is."""
        manual_seed_all(seed)

    def set_allocator_settings(self, settings: str) -> None:
        """Do nothing: the settings are those of an accelerator's allocator."""

    def empty_cache(self) -> None:
        """Do nothing: a CPU has no cache of freed memory."""
        empty_cache()

    def get_device_capability(self, device_index: int = 0) -> tuple[None, None]:
        """(None, None): a CPU has no compute capability."""
        return None, None

    def communication_backend_name(self) -> str:
        """The backend of torch.distributed that runs on CPUs."""
        return "gloo"

    def visible_devices_envvar(self) -> str:
        """The variable that ray sets for a logical GPU."""
        return "CUDA_VISIBLE_DEVICES"

    def ray_resource_name(self) -> str:
        """The resource that verl requests from ray, here a logical GPU."""
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        """Variables that keep ray from setting :meth:`visible_devices_envvar`."""
        return ["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"]

    def is_ipc_supported(self) -> bool:
        """False: weights are sent to vLLM through shared memory."""
        return False

    @contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        """Do nothing: there is no device profiler."""
        yield

    def profiler_start(self) -> None:
        """Do nothing: there is no device profiler."""

    def profiler_stop(self) -> None:
        """Do nothing: there is no device profiler."""

    def cudart(self) -> None:
        """None: there is no CUDA runtime."""
        return None
