# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""MMK12: its own columns and those of its copies; the test part only when it is asked for."""

from __future__ import annotations

import pytest

from tests.support.published import Converted, png, put
from verl_mapo.data.mmk12 import MMK12
from verl_mapo.settings import ConfigError

TRAIN = {"id": "1", "question": "<image>Find x.", "answer": "$x^2$", "subject": "math", "image": {"bytes": png()}}
CHOICE = "As shown, find it.\nA. one metre\nB. two metres"


def test_train_part_is_read_and_test_part_is_not(tmp_path):
    put(tmp_path / "a" / "data" / "train-00000-of-00001.parquet", [TRAIN])
    put(tmp_path / "a" / "data" / "test-00000-of-00001.parquet", [TRAIN | {"id": "2"}])
    done = Converted(MMK12, tmp_path / "a")
    assert done.question == "<image>Find x." and done.target == ("math", "$x^2$")
    assert done.row["extra_info"]["id"] == "1" and done.row["extra_info"]["more"] == {"subject": "math"}


@pytest.mark.parametrize("file", ["test-00000-of-00001.parquet", "validation-00000-of-00001.parquet"])
def test_copies_of_the_test_part_are_read(file, tmp_path):
    put(tmp_path / "a" / "data" / file, [{"problem": CHOICE, "answer": "B", "images": [{"bytes": png()}]}])
    done = Converted(MMK12({"split": "test"}), tmp_path / "a")
    assert done.question == f"<image>\n{CHOICE}" and done.target == ("multiple_choice", "B")
    with pytest.raises(ConfigError, match="train"):
        Converted(MMK12, tmp_path / "a")
