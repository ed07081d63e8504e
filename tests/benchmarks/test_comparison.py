# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The tables of a comparison that are written into a folder."""

from __future__ import annotations

import pandas as pd

from verl_mapo.benchmarks.comparison import compare_runs, write_tables


def test_signs_of_latex_in_a_name_are_escaped(tmp_path):
    index = pd.MultiIndex.from_tuples([("toy", "1"), ("toy", "2")], names=["benchmark", "id"])
    right = pd.DataFrame({"group": ["1", "2"], "truth": ["A", "B"], "right": [1.0, 0.0]}, index=index)
    write_tables(compare_runs({"base": right, "a_b#1$&50%{x}~^": right}), tmp_path)
    head, *rows = [line for line in (tmp_path / "comparison.tex").read_text().splitlines() if "&" in line]
    assert r"95 \% interval" in head and rows[0].startswith(r"toy & base & 2 & 50.0 & ")
    name = r"a\_b\#1\$\&50\%\{x\}\textasciitilde \textasciicircum "
    assert rows[1].startswith(f"toy & {name} & 2 & 50.0 & ")
