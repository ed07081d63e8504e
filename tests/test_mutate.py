# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What scripts/mutate.py draws, which tests it runs, and how it counts, in a small package."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from rich.console import Console
from support.script_modules import script_module

mutate = script_module("mutate")

CODE = """
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


class Settings:
    beta: float | None = 0.4


def double(x: int | None) -> int | None:
    return x * 2
"""


@pytest.fixture
def root(tmp_path):
    files = {
        "verl_mapo/room/code.py": CODE,
        "verl_mapo/room/inner/deep.py": "",
        "tests/room/test_code.py": "",
        "tests/room/inner/test_deep.py": "from verl_mapo.room.code import double\n",
        "tests/room/test_other.py": "import os\n",
        ".gitignore": "runs/\n",
        "runs/big.bin": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_one_mutant_is_drawn_for_every_place_that_is_evaluated_and_the_seed_decides_which(root):
    pytest.importorskip("cosmic_ray", reason="an extra of its own, which the tests do not need")
    files = mutate.source_files(["room"], root)
    assert files == ["verl_mapo/room/code.py", "verl_mapo/room/inner/deep.py"]
    drawn = mutate.draw(files, seed=3, root=root)
    assert {(mutant.start_pos[0], str(mutant.module_path)) for mutant in drawn} == {(9, files[0]), (13, files[0])}
    assert len(drawn) == 3, "0.4, * and 2; neither the annotations nor TYPE_CHECKING"

    def names(seed):
        return [(mutant.operator_name, mutant.occurrence) for mutant in mutate.draw(files, seed, root)]

    assert names(3) == names(3) and len({tuple(names(seed)) for seed in range(5)}) > 1


def test_tests_of_a_file_are_its_mirror_and_those_of_the_room_that_import_it(root):
    tests = ["tests/room/test_code.py", "tests/room/inner/test_deep.py"]
    assert mutate.tests_of("verl_mapo/room/code.py", root) == tests
    assert mutate.tests_of("verl_mapo/room/inner/deep.py", root) == tests[1:]


def test_copy_has_the_files_that_git_would_track_and_shares_none_of_them(root, tmp_path_factory):
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    copy = tmp_path_factory.mktemp("copy")
    mutate.copy_tree(copy, root)
    (copy / "verl_mapo/room/code.py").write_text("changed")
    assert (root / "verl_mapo/room/code.py").read_text() == CODE and not (copy / "runs").exists()


def result(outcome: str, file: str = "verl_mapo/room/code.py"):
    return mutate.Result(
        file, 13, "NumberReplacer", "double", outcome, 1.0, "@@ -1 +1 @@\n-    return 2\n+    return 3"
    )


def test_known_equivalents_are_recognised_by_file_and_line():
    known = {"file": "verl_mapo/room/code.py", "before": "return 2", "after": "return 3", "reason": "why"}
    assert mutate.explained(result("survived"), [known])
    assert mutate.explained(result("survived"), [{name: known[name] for name in ("file", "before", "reason")}])
    for key in ("file", "before", "after"):
        assert not mutate.explained(result("survived"), [known | {key: "other"}])


def test_score_is_the_share_of_noticed_mutants_among_those_that_are_not_equivalent():
    results = [result(outcome) for outcome in ("killed", "killed", "timeout", "survived", "equivalent")]
    console = Console(width=100, record=True)
    console.print(mutate.table_of([*results, result("killed", "verl_mapo/tools/x.py")], ["room", "tools"]))
    rows = [line.split() for line in console.export_text().replace("│", " ").splitlines()]
    assert ["room", "5", "2", "1", "1", "1", "75.0%"] in rows and ["tools", "1", "1", "0", "0", "0", "100.0%"] in rows
    assert ["all", "6", "3", "1", "1", "1", "80.0%"] in rows


def test_every_equivalent_mutant_has_a_reason_and_its_line_is_in_its_file():
    root = Path(__file__).parents[1]
    for known in mutate.yaml.safe_load(mutate.EQUIVALENT.read_text()):
        assert {"file", "before", "reason"} <= set(known) <= {"file", "before", "after", "reason"}
        lines = [line.strip() for line in (root / known["file"]).read_text().splitlines()]
        assert known["before"] in lines, f"{known['file']} has no line {known['before']!r} any more"
