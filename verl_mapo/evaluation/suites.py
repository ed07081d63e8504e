# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The tables of papers: which sets they report under which protocol, and the published rows as reference."""

from __future__ import annotations

from dataclasses import field
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from pydantic import PositiveInt
from pydantic.dataclasses import dataclass

from verl_mapo.benchmarks import BENCHMARKS
from verl_mapo.settings import STRICT, ConfigError, parse_node

_FOLDER = Path(__file__).parent / "suites"


@dataclass(frozen=True, config=STRICT)
class Published:
    """A row of a published table.

    Attributes:
        model: the model, as the source names it.
        source: where the numbers were read.
        shares: percent by the name of the benchmark.
    """

    model: str
    source: str
    shares: dict[str, float]


@dataclass(frozen=True, config=STRICT)
class Suite:
    """The evaluation of a paper.

    Attributes:
        about: what is reported, and what is known of the protocol.
        benchmarks: names of the sets.
        k: number of samples of a question.
        temperature: of the samples; 0 is greedy.
        protocols: ``tools``, ``direct`` or both.
        overrides: hydra overrides of the run: turns, pixels, lengths.
        not_built_in: sets of the paper that this package does not have.
        reference: published rows. Base rows differ by points between papers, so that the base is always run, too.
    """

    about: str
    benchmarks: list[str]
    k: PositiveInt
    temperature: float
    protocols: list[str]
    overrides: list[str]
    not_built_in: list[str] = field(default_factory=list)
    reference: list[Published] = field(default_factory=list)

    def table(self) -> pd.DataFrame:
        """The published rows, one column for each benchmark that one of them reports."""
        named = [name for name in self.benchmarks if any(name in row.shares for row in self.reference)]
        rows = []
        for row in self.reference:
            shares = {name: f"{row.shares[name]:.1f}" if name in row.shares else "" for name in named}
            rows.append({"published": row.model, **shares, "source": row.source})
        return pd.DataFrame(rows)


def suite_names() -> list[str]:
    """The names of the suites."""
    return sorted(file.stem for file in _FOLDER.glob("*.yaml"))


@cache
def suite(name: str) -> Suite:
    """The suite with a name.

    Raises:
        ConfigError: there is none.
    """
    file = _FOLDER / f"{name}.yaml"
    if name not in suite_names():
        raise ConfigError(f"--suite {name} is refused: the suites are {', '.join(suite_names())}.")
    written: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    found = parse_node(Suite, written, f"the suite {name}")
    for benchmark in found.benchmarks:
        BENCHMARKS.find(benchmark)
    return found
