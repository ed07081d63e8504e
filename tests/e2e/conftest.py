# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.real_run import TIMEOUT_S


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test with real runs the time of three runs, instead of the limit in pyproject.toml."""
    for item in items:
        if item.get_closest_marker("e2e"):
            item.add_marker(pytest.mark.timeout(3 * TIMEOUT_S))


@pytest.fixture(scope="session")
def toys(shelf) -> dict[str, SimpleNamespace]:
    """Smoke-size toys of both families, made at the same time."""
    making = {family: start_making(shelf, "--family", family) for family in ("qwen2_5_vl", "qwen3_vl")}
    return {family: made(process) for family, process in making.items()}


@pytest.fixture(scope="session")
def toy(shelf) -> SimpleNamespace:
    """The smoke-size toy of Qwen2.5-VL alone."""
    return made(start_making(shelf, "--family", "qwen2_5_vl"))


@pytest.fixture(scope="session")
def photo_toy(shelf) -> SimpleNamespace:
    """The same, searched for in real photographs."""
    return made(start_making(shelf, "--background", "photos"))


def start_making(shelf: Path, *options: str) -> subprocess.Popen:
    """The command that makes a toy, in a process of its own: the runs need the memory."""
    command = [sys.executable, "-m", "verl_mapo.cli", "toy", "--out", str(shelf), "--size", "smoke", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def made(process: subprocess.Popen) -> SimpleNamespace:
    """The toy, once it is made."""
    lines = process.communicate()[0].split()
    assert process.returncode == 0, process.args
    paths = (Path(line.partition("=")[2]) for line in lines)
    return SimpleNamespace(**dict(zip(("train", "test", "model", "clip"), paths, strict=True)))
