# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The answers of a run as VLMEvalKit's prediction files, so that its evaluation can be run on them.

The form is that of its ``infer_data_job``: the columns of its table without the image, and ``prediction``, in
``<model>_<dataset>.xlsx``, ``.tsv`` (every cell quoted) or ``.json`` (a list of objects).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from verl_mapo.benchmarks.answers import QuestionAnswers
from verl_mapo.benchmarks.options import LETTERS, split_options
from verl_mapo.benchmarks.scoring import target_of_row
from verl_mapo.data.base import MARK
from verl_mapo.settings import ConfigError

Format = Literal["xlsx", "tsv", "json"]

DATASETS = {
    "vstar": "VStarBench",
    "hrbench_4k": "HRBench4K",
    "hrbench_8k": "HRBench8K",
    "mme_realworld_lite": "MME-RealWorld-Lite",
    "blink": "BLINK",
    "mmstar": "MMStar",
    "realworldqa": "RealWorldQA",
    "pope": "POPE",
    "hallusion_bench": "HallusionBench",
    "mathvista": "MathVista_MINI",
    "mathverse": "MathVerse_MINI",
    "mathvision": "MathVision",
    "we_math": "WeMath",
    "logicvista": "LogicVista",
    "dynamath": "DynaMath",
    "mmmu_val": "MMMU_DEV_VAL",
    "mmmu_pro": "MMMU_Pro_10c",
}
"""VLMEvalKit's names of the benchmarks; those that are not listed have none, or several."""

_LONGEST_CELL = 32_767
"""Characters that a cell of an Excel file can hold."""


def prediction_table(
    answers: Iterable[QuestionAnswers], rows: Mapping[tuple[str, str], Mapping[str, Any]], sample: int = 0
) -> pd.DataFrame:
    """The answers to one benchmark in VLMEvalKit's columns.

    Args:
        answers: of one benchmark.
        rows: the neutral rows by benchmark and id.
        sample: which of a question's samples is the prediction, from 0.

    Returns:
        ``index``, ``question``, the letters of the options as far as there are any, ``answer``, what the row's
        ``more`` holds (such as ``category`` and ``cycle_category``), and ``prediction``: the last turn.

    Raises:
        ConfigError: a question is in none of the rows, or has no such sample.
    """
    table = []
    for answer in answers:
        row = rows.get((answer.benchmark, answer.id))
        if row is None:
            raise ConfigError(f"--data has no question {answer.benchmark} {answer.id}: give the files of the run.")
        if sample >= len(answer.replies):
            raise ConfigError(
                f"--sample {sample} is refused: {answer.benchmark} {answer.id} has {len(answer.replies)} answers, "
                "numbered from 0."
            )
        target = target_of_row(row)
        text = target.question.replace(MARK, "").strip()
        table.append(
            {
                "index": int(answer.id) if answer.id.isdecimal() else answer.id,
                "question": (split_options(text)[0] or text) if target.options else text,
                **dict(zip(LETTERS, target.options, strict=False)),
                "answer": target.truth,
                **target.more,
                "prediction": answer.replies[sample],
            }
        )
    return _in_order(pd.DataFrame(table))


def _in_order(table: pd.DataFrame) -> pd.DataFrame:
    """The columns in the order of VLMEvalKit's tables, whichever row has the most options."""
    letters = sorted(column for column in table if column in LETTERS)
    first = ["index", "question", *letters, "answer"]
    others = [column for column in table if column not in (*first, "prediction")]
    return table[[*first, *others, "prediction"]]


def write_predictions(table: pd.DataFrame, folder: Path, model: str, dataset: str, form: Format) -> Path:
    """Write one file of predictions.

    Args:
        table: see :func:`prediction_table`.
        folder: made if absent.
        model: the model's name in VLMEvalKit.
        dataset: the benchmark's name in VLMEvalKit.
        form: the format, VLMEvalKit's ``PRED_FORMAT``.

    Returns:
        the file.

    Raises:
        ConfigError: a text is too long for an Excel file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{model}_{dataset}.{form}"
    if form == "json":
        table.to_json(file, orient="records", indent=4, force_ascii=False)
    elif form == "tsv":
        table.to_csv(file, sep="\t", index=False, encoding="utf-8", quoting=csv.QUOTE_ALL)
    else:
        _check_cells(table)
        options = {"options": {"strings_to_formulas": False, "strings_to_urls": False}}
        with pd.ExcelWriter(file, engine="xlsxwriter", engine_kwargs=options) as writer:
            table.to_excel(writer, index=False)
    return file


def _check_cells(table: pd.DataFrame) -> None:
    texts: Sequence[Any] = table[["question", "prediction"]].to_numpy().ravel().tolist()
    longest = max((len(text) for text in texts), default=0)
    if longest > _LONGEST_CELL:
        raise ConfigError(
            f"--form xlsx is refused: a text has {longest} characters, and a cell of an Excel file holds "
            f"{_LONGEST_CELL}: use --form tsv, and set VLMEvalKit's PRED_FORMAT=tsv."
        )
