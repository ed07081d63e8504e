# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""scripts/trajectory_picture.py."""

from __future__ import annotations

import sys
from importlib import util
from pathlib import Path

import pytest
from PIL import Image

from verl_mapo.rollout.statuses import LabelFault

SCRIPT = Path(__file__).parents[2] / "scripts" / "trajectory_picture.py"


@pytest.fixture
def run_script(monkeypatch):
    """Runs the script's ``main`` with arguments."""
    spec = util.spec_from_file_location("trajectory_picture", SCRIPT)
    script = util.module_from_spec(spec)
    spec.loader.exec_module(script)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
        script.main()

    return run


def test_rollout_is_drawn_always_in_the_same_way(write_run, make_record, make_turn, run_script, tmp_path):
    turns = [make_turn(label="a $ and </b>", score=None, faults=[LabelFault.LONG_LABEL])] * 3
    gone = make_record(uid="gone", images=["/nowhere.png"])
    records = [make_record(uid="many", turns=turns), gone, make_record(uid="none", trajectory=None)]
    run = write_run(records={1: records})
    for uid in ("many", "gone", "none"):
        one, two = (tmp_path / f"{uid}{number}.png" for number in (1, 2))
        for out in (one, two):
            run_script(run, "--split", "train", "--step", 1, "--uid", uid, "--out", out)
        assert one.read_bytes() == two.read_bytes()
        with Image.open(one) as image:
            assert image.width > 1000


def test_rollout_that_does_not_exist_is_an_error_that_lists_the_uids(write_run, make_record, run_script, capsys):
    run = write_run(records={1: [make_record()]})
    for arguments, message in (
        (["--step", 2, "--uid", "g"], "no train rollouts of step 2"),
        (["--step", 1, "--uid", "h"], "the uids of this step are: g"),
    ):
        with pytest.raises(SystemExit):
            run_script(run, "--split", "train", *arguments)
        assert message in capsys.readouterr().err
