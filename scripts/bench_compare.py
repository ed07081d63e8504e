# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Time of ``verl-mapo bench compare`` over 10 runs of 20,000 questions, in a process of its own.

    python scripts/bench_compare.py [--runs 10] [--questions 20000]

The answers are synthetic, with the texts of replies of usual length. Target: at most 5 s of processor time.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from verl_mapo.benchmarks.answers import QuestionAnswers, write_answers

REPLY = "<think>The sign stands to the left of the bench, so I compare the two.</think>\n<answer>{}</answer>"


def write_run(file: Path, questions: int, accuracy: float, random: np.random.Generator) -> None:
    """Write the answers of a run with an accuracy."""
    verdicts = (random.random(questions) < accuracy).tolist()
    letters = ("A" if right else "B" for right in verdicts)
    write_answers(
        (
            QuestionAnswers(
                "vstar", str(place), "", "A", [REPLY.format(letter)], [letter], [right], [right], [True], [""], [None],
                str(place),
            )
            for place, (letter, right) in enumerate(zip(letters, verdicts, strict=True))
        ),
        file,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--questions", type=int, default=20_000)
    given = parser.parse_args()
    with TemporaryDirectory() as name:
        folder, random = Path(name), np.random.default_rng(0)
        files = [folder / f"run{run}.jsonl" for run in range(given.runs)]
        for run, file in enumerate(files):
            write_run(file, given.questions, 0.5 + 0.02 * run, random)
        command = [sys.executable, "-m", "verl_mapo.cli", "bench", "compare", *map(str, files), "--out", name]
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print("| runs | questions | processor time | time | memory |\n| --- | --- | --- | --- | --- |")
    print(
        f"| {given.runs} | {given.questions:,} | {used.ru_utime + used.ru_stime:.1f} s | {seconds:.1f} s "
        f"| {used.ru_maxrss / 1024:.0f} MB |"
    )


if __name__ == "__main__":
    main()
