# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The causes of benchmarks as a table: one row for each number, one column for each benchmark."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from verl_mapo.benchmarks.audits import Causes, SwapEffect
from verl_mapo.benchmarks.statistics import Estimate

_EFFECTS = {
    "accuracy with tools": "accuracy_with",
    "accuracy without tools": "accuracy_without",
    "difference": "total",
    "+ call gain": "call_gain",
    "+ schema gain": "schema_gain",
    "- call harm": "call_harm",
    "- schema harm": "schema_harm",
}


def table(found: Iterable[Causes]) -> pd.DataFrame:
    """The table; a number that a benchmark does not have is empty.

    Returns:
        texts: the column ``number`` with the titles, and one column for each benchmark.
    """
    columns = {causes.benchmark: _numbers(causes) for causes in found}
    titles = list(dict.fromkeys(title for numbers in columns.values() for title in numbers))
    filled = {name: [numbers.get(title, "") for title in titles] for name, numbers in columns.items()}
    return pd.DataFrame({"number": titles} | filled)


def _numbers(causes: Causes) -> dict[str, str]:
    numbers = {"questions": f"{causes.questions:,}", "samples of a question": str(causes.samples)}
    if any(causes.lost):
        numbers["samples lost to an error, with tools / without"] = "{:,} / {:,}".format(*causes.lost)
    numbers |= {title: f"{getattr(causes.effects, name):.1%}" for title, name in _EFFECTS.items()}
    for swap in causes.swaps:
        numbers |= _of_swap(swap)
    if causes.adaptiveness is not None:
        numbers["mode adaptiveness"] = f"{causes.adaptiveness:.1%}"
    for title, value, share in (
        ("alignment of label and image", causes.alignment, False),
        ("IoU with the true boxes", causes.iou, False),
        ("samples that look at a true box", causes.hit, True),
    ):
        if value is not None:
            numbers[title] = estimate(value, share)
    return numbers


def _of_swap(swap: SwapEffect) -> dict[str, str]:
    name = swap.kind.replace("_", " ")
    numbers = {
        f"{name}: audited looks": f"{swap.looks:,}",
        f"{name}: right, real look": estimate(swap.accuracy),
        f"{name}: right, swapped look": estimate(swap.swapped),
    }
    if swap.without_looking is not None:
        numbers[f"{name}: right answers that stay right"] = estimate(swap.without_looking)
    if swap.evidence is not None:
        numbers[f"{name}: visual evidence gain, nats"] = estimate(swap.evidence, share=False)
    return numbers


def estimate(found: Estimate, share: bool = True) -> str:
    """A number with its interval, as a share in percent or as it is."""
    one = (lambda value: f"{value:.1%}") if share else (lambda value: f"{value:.3f}")
    return f"{one(found.value)} ({one(found.low)} to {one(found.high)})"
