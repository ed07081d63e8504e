# Copyright 2026 The verl_mapo authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""The CPU as a device of verl: the platform class, and this module as the platform's *device module*.

verl calls a device module like ``torch.cuda``. ``torch.cpu`` lacks the memory and random-number half of that
interface, so this module supplies it: memory means the resident set of this process, in bytes, and whatever manages
an accelerator's cache does nothing. To be imported after verl, whose import of the plugin leads here.
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
    """False: verl takes True for "there is accelerator memory to measure and to trim"."""
    return False


def current_device() -> torch.device:
    """A device rather than an index, because ``tensor.to(0)`` means the first accelerator."""
    return torch.device("cpu")


def get_device_name(device: int | None = None) -> str:
    """A name that verl's FLOPs table does not know, so that it reports no utilisation."""
    return "CPU"


def memory_allocated(device: int | None = None) -> int:
    """Resident memory of this process, in bytes."""
    return psutil.Process().memory_info().rss


def max_memory_allocated(device: int | None = None) -> int:
    """The largest resident memory this process has had, in bytes (Linux counts it in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


memory_reserved = memory_allocated
max_memory_reserved = max_memory_allocated


def mem_get_info(device: int | None = None) -> tuple[int, int]:
    """(available, total) memory of the machine, in bytes."""
    memory = psutil.virtual_memory()
    return memory.available, memory.total


def empty_cache() -> None:
    """Nothing is cached on a CPU."""


def ipc_collect() -> None:
    """No memory is shared through an accelerator driver."""


def get_rng_state(device: int | None = None) -> torch.Tensor:
    """State of torch's CPU generator, uint8 of shape (5056,)."""
    return torch.get_rng_state()


def set_rng_state(state: torch.Tensor, device: int | None = None) -> None:
    """Restore what :func:`get_rng_state` returned."""
    torch.set_rng_state(state)


def manual_seed(seed: int) -> None:
    """Seed torch's CPU generator."""
    torch.manual_seed(seed)


manual_seed_all = manual_seed


class CPUPlatform(PlatformBase):
    """The CPU as verl's device. ray counts it as a *logical* GPU: verl asks for GPUs whatever the platform."""

    device_name = "cpu"
    vendor_name = "cpu"
    device_module = sys.modules[__name__]

    def is_available(self) -> bool:
        return True

    def is_platform_available(self, use_smi_check: bool = False) -> bool:
        """Never detected: the actors of a GPU run that were given no GPU would take themselves for a CPU run."""
        return False

    def current_device(self) -> torch.device:
        return current_device()

    def device_count(self) -> int:
        return device_count()

    def set_device(self, device_index: int) -> None:
        set_device(device_index)

    def synchronize(self, device_index: int | None = None) -> None:
        synchronize(device_index)

    def manual_seed(self, seed: int) -> None:
        manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        manual_seed_all(seed)

    def set_allocator_settings(self, settings: str) -> None:
        """The settings concern an accelerator's allocator."""

    def empty_cache(self) -> None:
        empty_cache()

    def get_device_capability(self, device_index: int = 0) -> tuple[None, None]:
        return None, None

    def communication_backend_name(self) -> str:
        return "gloo"

    def visible_devices_envvar(self) -> str:
        return "CUDA_VISIBLE_DEVICES"

    def ray_resource_name(self) -> str:
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        return ["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"]

    def is_ipc_supported(self) -> bool:
        """False: weights reach vLLM through shared memory."""
        return False

    @contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        yield

    def profiler_start(self) -> None:
        """There is no device profiler."""

    def profiler_stop(self) -> None:
        """There is no device profiler."""

    def cudart(self) -> None:
        return None
