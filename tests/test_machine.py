# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What the doctor says of machines that are not at hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from verl_mapo.machine import GB, Machine, facts

GPUS = ("NVIDIA H100 80GB HBM3, 81559 MiB",) * 8
GOOD = Machine("2.11.0", "13.0", 8, "580.95.05", GPUS, "", (1000 * GB, 1000 * GB), 2000 * GB, 65536)
LAPTOP = replace(GOOD, usable=0, driver="", gpus=(), memory=16 * GB, shm=(8 * GB, 8 * GB))


def level(machine: Machine, what: str, **options) -> tuple[str, str]:
    (fact,) = (fact for fact in facts(machine, **options) if what in fact.what)
    return fact.level, fact.words


def test_machine_with_everything_has_no_fault():
    assert {fact.level for fact in facts(GOOD)} == {"ok"}


def test_machine_without_a_gpu_runs_the_cpu_stack_and_needs_no_flash_attn():
    assert {fact.level for fact in facts(LAPTOP)} == {"ok", "warns"}
    assert level(replace(LAPTOP, flash_attention="not installed"), "flash-attn") == ("ok", "")
    assert "stack=cpu" in level(LAPTOP, "GPUs")[1]


@pytest.mark.parametrize(
    ("change", "what", "expected", "words"),
    [
        ({"flash_attention": "not installed"}, "flash-attn", "fails", 'pip install --no-build-isolation "verl-mapo['),
        (
            {"flash_attention": "cannot be imported: undefined symbol"},
            "flash-attn",
            "fails",
            "attn_implementation=sdpa",
        ),
        ({"driver": "570.124.06"}, "driver", "fails", "CUDA 13.0 needs driver 580 or newer"),
        ({"driver": "570.124.06", "cuda": "12.8"}, "driver", "ok", ""),
        ({"driver": "", "gpus": ()}, "driver", "ok", ""),
        ({"cuda": "", "usable": 0}, "torch", "fails", 'pip install "verl-mapo[gpu]"'),
        ({"usable": 0}, "torch", "fails", "CUDA_VISIBLE_DEVICES"),
        ({"torch": ""}, "torch", "fails", "install verl-mapo with an extra"),
        ({"shm": (64_000_000, 64_000_000)}, "shm", "fails", "--shm-size=1000g"),
        ({"shm": (100 * GB, 100 * GB)}, "shm", "warns", "30 %"),
        ({"shm": None}, "shm", "fails", "mount it"),
        ({"memory": 64 * GB, "shm": (60 * GB, 60 * GB)}, "memory", "warns", "param_offload=false"),
        ({"memory": 8 * GB, "shm": (8 * GB, 8 * GB)}, "memory", "fails", "10 GB"),
        ({"open_files": 1024}, "open files", "warns", "ulimit -n 65536"),
    ],
)
def test_what_will_fail_is_said_in_words(change, what, expected, words):
    found, said = level(replace(GOOD, **change), what)
    assert found == expected and words in said


def test_flash_attn_is_not_needed_by_another_attention():
    machine = replace(GOOD, flash_attention="not installed")
    assert level(machine, "flash-attn", attention="sdpa") == ("ok", "")


def test_every_warning_has_words_and_this_machine_can_be_described():
    for machine in (GOOD, LAPTOP, replace(GOOD, torch="", shm=None, memory=1, open_files=1), Machine.found()):
        described = facts(machine)
        assert all(fact.what and fact.found for fact in described)
        assert all(bool(fact.words) == (fact.level != "ok") for fact in described)
