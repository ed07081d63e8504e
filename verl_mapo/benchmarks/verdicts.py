# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The verdicts of a run alone, read out of its judged answers: a comparison of many runs needs none of their texts."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from verl_mapo.benchmarks.answers import AGAIN, read_answers
from verl_mapo.settings import ConfigError

Rule = Literal["ours", "official"]
"""Whose verdicts count: those of the answer checks of this package, or those of the benchmark's own rule."""

_LONGEST_LINE = 1 << 28
"""Bytes that the reader takes at a time; no line may be longer."""


def read_verdicts(file: Path, rule: Rule = "ours") -> pd.DataFrame:
    """How often each question of a run was answered right.

    Args:
        file: the ``answers.jsonl`` of a run, see :func:`verl_mapo.benchmarks.answers.write_answers`.
        rule: whose verdicts count; a sample without one is not right.

    Returns:
        one row for each question, with the index ``benchmark`` and ``id``, in the order of the file: ``group``,
        ``truth``, and ``right``, the share of right samples, float64.

    Raises:
        ConfigError: there is no such file; a line is no judged question, or has no sample; or a question comes twice.
    """
    if not file.is_file():
        raise ConfigError(f"{file} is no file: give the answers.jsonl that 'verl-mapo bench score' writes.")
    texts = ["benchmark", "id", "group", "truth"]
    columns = {**dict.fromkeys(texts, pa.string()), rule: pa.list_(pa.bool_())}
    try:
        _check_start(file)
        found = pj.read_json(
            file,
            pj.ReadOptions(block_size=max(1 << 20, min(file.stat().st_size + 1, _LONGEST_LINE))),
            pj.ParseOptions(explicit_schema=pa.schema(columns), unexpected_field_behavior="ignore"),
        )
    except pa.ArrowInvalid as error:
        read_answers(file)  # tells line and key
        raise ConfigError(f"{file} holds no judged questions ({error}): {AGAIN}.") from None
    samples = pc.fill_null(pc.list_value_length(found[rule]), 0).to_numpy()
    whole = np.logical_and.reduce([pc.is_valid(found[name]).to_numpy() for name in columns]) & (samples > 0)
    if not whole.all():
        line = int(np.argmin(whole)) + 1
        raise ConfigError(f"line {line} of {file} is no judged question with an answer: {AGAIN}.")
    right = pc.fill_null(pc.list_flatten(found[rule]), False).to_numpy().astype(float)
    owner = np.repeat(np.arange(len(samples)), samples)
    frame = found.select(texts).to_pandas()
    frame["right"] = np.bincount(owner, right, minlength=len(samples)) / samples
    frame = frame.set_index(["benchmark", "id"])
    if frame.index.has_duplicates:
        twice = " ".join(frame.index[frame.index.duplicated()][0])
        raise ConfigError(f"{file} holds {twice} twice: {AGAIN}.")
    return frame


def _check_start(file: Path) -> None:
    """Refuse a file that does not begin with an object; pyarrow's reader ends the process at a first line ``null``."""
    with file.open("rb") as lines:
        first = next(filter(None, map(bytes.strip, lines)), b"")
    if not first.startswith(b"{"):
        raise pa.ArrowInvalid("its first line is no object")
