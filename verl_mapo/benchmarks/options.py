# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The options of a multiple choice: read from the forms in which benchmarks publish them, shuffled, and written."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterable, Mapping, Sequence

from verl_mapo.data.reasons import LeftOut

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_LABEL = re.compile(r"(?:(?<=^)|(?<=[\s,;；)]))(?:[(（]([A-Z])[)）]|([A-Z])[.．:：、)])\s*")


def split_options(text: str) -> tuple[str, list[str]]:
    """A text before its options, and the texts of the options, A first; no options where the text lists none.

    ``(A) red (B) blue``, ``A. red; B. blue``, ``A: red, B: blue`` and ``A.red`` in lines of their own are read. The
    last list of labels that begins with A and leaves out no letter counts.

    Args:
        text: a question, or a list of options alone.
    """
    found = list(_LABEL.finditer(text))
    for start in range(len(found) - 1, -1, -1):
        if _letter(found[start]) != "A":
            continue
        labels = found[start : start + 1]
        for label in found[start + 1 :]:
            if _letter(label) == LETTERS[len(labels)]:
                labels.append(label)
        if len(labels) > 1:
            ends = [label.start() for label in labels[1:]] + [len(text)]
            texts = [text[label.end() : end] for label, end in zip(labels, ends, strict=True)]
            return text[: labels[0].start()].strip(), [one.strip().rstrip(",;；").strip() for one in texts]
    return text.strip(), []


def _letter(label: re.Match[str]) -> str:
    return label[1] or label[2]


def listed(value: object) -> list[str]:
    """The texts of options from a list, from its Python form in a text, or from a text with labels.

    Args:
        value: the published value. The entries of a list may have their labels.

    Raises:
        ValueError: the value is a text that lists no options.
    """
    if isinstance(value, str):
        if value.lstrip().startswith("["):
            return listed(ast.literal_eval(value))
        texts = split_options(value)[1]
        if not texts:
            raise ValueError(f"no options are found in {value!r:.100}")
        return texts
    texts = [str(one).strip() for one in value if one is not None] if isinstance(value, Iterable) else []
    labels = [_LABEL.match(one) for one in texts]
    own = all(label and _letter(label) == letter for label, letter in zip(labels, LETTERS, strict=False))
    return [one[label.end() :] for one, label in zip(texts, labels, strict=True)] if texts and own else texts


def in_columns(example: Mapping[str, object], letters: str = "ABCDEFGH") -> list[str]:
    """The texts in the columns A, B, ... of VLMEvalKit's files, up to the last that is not empty.

    Raises:
        LeftOut: ``malformed``, a column before it is empty. VLMEvalKit shows such a question with the letters that are
            left, and a list of options has no place for a letter without a text.
    """
    values = [example.get(letter) for letter in letters]
    texts = ["" if value is None or value != value else str(value).strip() for value in values]
    while texts and not texts[-1]:
        texts.pop()
    if "" in texts:
        raise LeftOut(
            "malformed", f"the option {letters[texts.index('')]} is empty, and {letters[len(texts) - 1]} is not"
        )
    return texts


def shuffled(options: Sequence[str], truth: int, key: str) -> tuple[list[str], str]:
    """Options in an order that a key determines, and the letter of the right one.

    Args:
        options: the texts.
        truth: the place of the right one.
        key: seed, benchmark and question; the same key gives the same order on every machine.
    """
    order = list(range(len(options)))
    random.Random(key).shuffle(order)
    return [options[place] for place in order], LETTERS[order.index(truth)]


def with_options(question: str, options: Sequence[str]) -> str:
    """A question with its options in lines below it, as ``(A) red``."""
    lines = [f"({letter}) {text}" for letter, text in zip(LETTERS, options, strict=False)]
    return "\n".join([question.strip(), *lines])
