# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Modules of the installed verl with a patch of docs/upstream/ applied."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

PATCHES = Path(__file__).parents[2] / "docs" / "upstream"


def patched_file(module: str, patch: str, folder: Path) -> Path:
    """A copy of a module's file in a folder, with a patch applied.

    Args:
        module: its whole name.
        patch: name of a file of docs/upstream/.
        folder: an empty folder.
    """
    file = folder.joinpath(*module.split(".")).with_suffix(".py")
    file.parent.mkdir(parents=True)
    file.write_text(Path(importlib.util.find_spec(module).origin).read_text())
    apply = ["git", "apply", "--unsafe-paths", f"--directory={folder}", PATCHES / patch]
    subprocess.run(apply, check=True, cwd=folder)
    return file


def patched_module(module: str, patch: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of :func:`patched_file`, beside the installed one."""
    file = patched_file(module, patch, folder)
    spec = importlib.util.spec_from_file_location(f"patched_{file.stem}", file)
    patched = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, patched)
    spec.loader.exec_module(patched)
    return patched
