# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What benchmarks report beside the mean: rules about groups of questions, each from the benchmark's own evaluation.

A function takes the answers of one run, one for each question, and returns shares from 0 to 1 by name. It does not
know which rule decided that an answer is right.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Answer:
    """A judged answer to a question.

    Attributes:
        id: the question's.
        right: the share of its samples that are right, from 0 to 1.
        more: the question's facts, see :class:`verl_mapo.benchmarks.base.Question`.
        truth: the accepted answer.
        said: what the answer was read as, where a grouping rule needs it (POPE's yes or no); None otherwise.
    """

    id: str
    right: float
    more: Mapping[str, Any] = field(default_factory=dict)
    truth: str = ""
    said: str | None = None


def mean(values: Iterable[float]) -> float:
    """The mean; NaN where there is nothing."""
    values = list(values)
    return float(np.mean(values)) if values else float("nan")


def grouped(answers: Iterable[Answer], *keys: str) -> dict[tuple[Hashable, ...], list[Answer]]:
    """The answers by the values of some of their facts, in the order of the answers."""
    groups: dict[tuple[Hashable, ...], list[Answer]] = defaultdict(list)
    for answer in answers:
        groups[tuple(str(answer.more.get(key, "")) for key in keys)].append(answer)
    return dict(groups)


def by_category(answers: Sequence[Answer], *keys: str) -> dict[str, float]:
    """``accuracy``, and the accuracy of each value of each fact, named ``fact/value``."""
    shares = {"accuracy": mean(answer.right for answer in answers)}
    for key in keys:
        for value, members in by_value(answers, key):
            shares[f"{key}/{value}"] = mean(answer.right for answer in members)
    return shares


def by_value(answers: Iterable[Answer], key: str) -> list[tuple[str, list[Answer]]]:
    """The answers by the value of a fact, in alphabetical order; those that lack it are left out."""
    known = [answer for answer in answers if answer.more.get(key) not in (None, "")]
    return [(value, members) for (value,), members in sorted(grouped(known, key).items())]


def mean_of_groups(answers: Sequence[Answer], *keys: str) -> float:
    """The mean of the accuracies of the groups, each group with the same weight."""
    return mean(mean(answer.right for answer in members) for members in grouped(answers, *keys).values())


def cycles(answers: Sequence[Answer]) -> dict[str, float]:
    """HR-Bench: mean of the accuracies of the four orders of options, and the two kinds of perception.

    ``mean_of_cycles`` is the mean over the values of ``cycle_category`` (lmms-eval's ``hrbench_aggregate_results``, the
    paper's rule), which is ``accuracy`` where each order has as many questions; ``fsp`` and ``fcp`` are the accuracies
    of the categories single and cross, and ``mean_fsp_fcp`` is their mean, which DeepEyes reports. ``all_cycles`` is
    the share of questions that are right in each of their orders [ours].
    """
    shares = {
        "accuracy": mean(answer.right for answer in answers),
        "mean_of_cycles": mean_of_groups(answers, "cycle_category"),
    }
    for name, category in (("fsp", "single"), ("fcp", "cross")):
        shares[name] = mean(answer.right for answer in answers if answer.more.get("category") == category)
    shares["mean_fsp_fcp"] = (shares["fsp"] + shares["fcp"]) / 2
    groups = by_value(answers, "group")
    shares["all_cycles"] = mean(float(all(answer.right == 1 for answer in members)) for _, members in groups)
    return shares


def yes_no(answers: Sequence[Answer], *keys: str) -> dict[str, float]:
    """POPE: accuracy, precision, recall, F1 and the share of yes; an answer that says neither is wrong.

    As in lmms-eval, recall is over the questions with truth yes that were answered with yes or no; ``yes_ratio`` is the
    share of answers that say yes, as in the paper (lmms-eval's counts the truths).

    Args:
        answers: with ``said`` and ``truth`` in any case.
        keys: facts for whose values the accuracy and the F1 are reported, too.
    """

    def of(members: Sequence[Answer]) -> dict[str, float]:
        pairs = [((answer.said or "").lower(), answer.truth.lower()) for answer in members]
        hits = sum(pair == ("yes", "yes") for pair in pairs)
        said, missed = sum(said == "yes" for said, _ in pairs), sum(pair == ("no", "yes") for pair in pairs)
        precision = hits / said if said else 0.0
        recall = hits / (hits + missed) if hits + missed else 0.0
        both = precision + recall
        return {
            "accuracy": mean(answer.right for answer in members),
            "precision": precision,
            "recall": recall,
            "f1": 2 * precision * recall / both if both else 0.0,
            "yes_ratio": said / len(pairs) if pairs else float("nan"),
        }

    shares = of(answers)
    for key in keys:
        for value, members in by_value(answers, key):
            shares |= {f"{key}/{value}/{name}": share for name, share in of(members).items() if name in _OF_A_KEY}
    return shares


_OF_A_KEY = ("accuracy", "f1")


def hallusion(answers: Sequence[Answer]) -> dict[str, float]:
    """HallusionBench: accuracy of questions (aAcc), of question pairs (qAcc) and of figures (fAcc).

    qAcc: the share of (category, subcategory, set, question) of which every answer is right. fAcc: the share of
    (category, subcategory, set, figure) of which every answer is right, without the questions of the category VS that
    have no figure (figure 0). As in the benchmark's ``utils.py`` (``get_eval_all``, ``get_eval_pair_all``,
    ``get_eval_fig``).
    """
    with_figure = [one for one in answers if not (one.more["category"] == "VS" and str(one.more["figure_id"]) == "0")]
    place = ("category", "subcategory", "set_id")

    def whole(members: Iterable[Answer], last: str) -> float:
        groups = grouped(members, *place, last).values()
        return mean(float(all(answer.right == 1 for answer in group)) for group in groups)

    return {
        "accuracy": mean(answer.right for answer in answers),
        "aAcc": mean(answer.right for answer in answers),
        "qAcc": whole(answers, "question_id"),
        "fAcc": whole(with_figure, "figure_id"),
    }


def steps(answers: Sequence[Answer]) -> dict[str, float]:
    """We-Math: the four outcomes of a problem and its steps, and the scores that are made of them.

    Of a problem, all steps right and the problem wrong is inadequate generalization (IG); a wrong step and the problem
    wrong, insufficient knowledge (IK). Problem right: complete mastery (CM) if all steps are right, under the strict
    rule, or one is, under the loose one; else rote memorization (RM). With N problems::

        score = (N - 0.5 IG - RM - IK) / N,    RM rate = RM / (RM + CM)

    As in the benchmark's evaluation (``wemath_utils.py``); an answer counts as right if all its samples are. A problem
    of which not all questions are there has no outcome: ``problems_left_out`` is the number of these, where there are
    any, and N does not contain them.
    """
    totals = dict.fromkeys(("ik", "ig", "cm_strict", "cm_loose", "rm_strict", "rm_loose"), 0)
    all_problems = _steps_and_problems(answers)
    problems = [found for found in all_problems if found]
    for parts, whole in problems:
        if whole:
            totals["cm_strict" if all(parts) else "rm_strict"] += 1
            totals["cm_loose" if any(parts) else "rm_loose"] += 1
        else:
            totals["ig" if all(parts) else "ik"] += 1
    shares = {"accuracy": mean(answer.right for answer in answers)}
    shares |= {name: count / len(problems) for name, count in totals.items()} if problems else {}
    for rule in ("strict", "loose"):
        rote, mastered = totals[f"rm_{rule}"], totals[f"cm_{rule}"]
        lost = 0.5 * totals["ig"] + rote + totals["ik"]
        shares[f"score_{rule}"] = 1 - lost / len(problems) if problems else float("nan")
        shares[f"rote_rate_{rule}"] = rote / (rote + mastered) if rote + mastered else 0.0
    left_out = len(all_problems) - len(problems)
    return shares | ({"problems_left_out": left_out} if left_out else {})


def _steps_and_problems(answers: Iterable[Answer]) -> list[tuple[list[bool], bool] | None]:
    """Whether each step of a problem is right, and whether the problem is; None where a question of it is missing.

    The questions of a problem of two steps are ``2steps_1``, ``2steps_2`` and ``2steps_multi``.
    """
    rights: dict[tuple[str, int], dict[str, bool]] = defaultdict(dict)
    for answer in answers:
        count, _, step = answer.more["step"].partition("steps_")
        rights[str(answer.more["problem"]), int(count)][step] = answer.right == 1
    found = []
    for (_, count), right in rights.items():
        names = [str(step) for step in range(1, count + 1)]
        whole = {*names, "multi"} <= set(right)
        found.append(([right[name] for name in names], right["multi"]) if whole else None)
    return found


def variants(answers: Sequence[Answer]) -> dict[str, float]:
    """DynaMath: the mean over all variants, and the share of problems of which the worst variant is right.

    ``robustness`` is worst / average, the paper's reasoning robustness.
    """
    groups = grouped(answers, "problem").values()
    average = mean(answer.right for answer in answers)
    worst = mean(min(answer.right for answer in members) for members in groups)
    return {"accuracy": average, "worst_case": worst, "robustness": worst / average if average else 0.0}


def sources(answers: Sequence[Answer]) -> dict[str, float]:
    """CV-Bench: ((ADE20K + COCO) / 2 + Omni3D) / 2, the paper's mean of 2D and 3D, and the accuracy of each task."""
    shares = by_category(answers, "source", "task")
    two = [shares.get(f"source/{name}", float("nan")) for name in ("ADE20K", "COCO")]
    official = (sum(two) / 2 + shares.get("source/Omni3D", float("nan"))) / 2
    return {"mean_2d_3d": official} | shares
