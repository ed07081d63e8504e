# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch
import verl  # noqa: F401  imports the plugin, which imports the device module

from verl_mapo.platforms import cpu_device
from verl_mapo.platforms.cpu_device import CPUPlatform


def test_memory_functions_return_the_resident_memory():
    available, total = cpu_device.mem_get_info()
    for measured in (cpu_device.memory_allocated(), cpu_device.max_memory_allocated(), available):
        assert 0 < measured < total


def test_random_number_state_is_restored():
    state = cpu_device.get_rng_state()
    assert (state.dtype, state.shape) == (torch.uint8, (5056,))
    first = torch.rand(3)
    cpu_device.set_rng_state(state)
    assert torch.equal(first, torch.rand(3))


@pytest.mark.parametrize("seed", [cpu_device.manual_seed, cpu_device.manual_seed_all, CPUPlatform().manual_seed])
def test_seed_determines_random_numbers(seed):
    seed(3)
    first = torch.rand(3)
    seed(3)
    assert torch.equal(first, torch.rand(3))


def test_platform_is_available_but_never_detected():
    platform = CPUPlatform()
    assert platform.is_available() and not platform.is_platform_available()
    assert platform.current_device() == torch.device("cpu")
    assert platform.device_count() == 1


def test_ray_counts_the_cpu_as_a_gpu_and_torch_communicates_with_gloo():
    platform = CPUPlatform()
    assert (platform.ray_resource_name(), platform.communication_backend_name()) == ("GPU", "gloo")


def test_functions_without_a_meaning_on_a_cpu_do_nothing():
    platform = CPUPlatform()
    with platform.nvtx_range("step"):
        platform.synchronize()
    platform.empty_cache()
    platform.set_device(0)
    assert platform.get_device_capability() == (None, None)
    assert platform.cudart() is None


def test_every_override_of_the_platform_has_a_docstring():
    tree = ast.parse(Path(cpu_device.__file__).read_text())
    methods = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    assert [method.name for method in methods if not ast.get_docstring(method)] == []
