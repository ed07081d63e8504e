# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""docs/methods.md: every method has a row, and its table of pairs is what the start checks say."""

from __future__ import annotations

import re
from functools import cache

import pytest
from support.script_modules import script_module

script = script_module("methods_table")
PAGE = script.PAGE.read_text()
WRITTEN = PAGE.partition(script.BEGIN)[2].partition(script.END)[0]
METHODS = script.methods()
REMEDY = "docs/methods.md is not what the checks say: run python scripts/methods_table.py --write"

configuration = cache(script.configuration)


def pairs_of_the_page() -> dict[tuple[str, str], str]:
    """Method and head to ``itself``, to the sentence that refuses the pair, or to an empty text."""
    sentences = dict(re.findall(r"^(\d+)\. (.+)$", WRITTEN, re.MULTILINE))
    heads, _, *rows = [line.strip("| ").split(" | ") for line in WRITTEN.splitlines() if line.startswith("|")]
    cells = {(row[0].strip("`"), head): cell for row in rows for head, cell in zip(heads[1:], row[1:], strict=True)}
    said = {"yes": "", "itself": "itself"} | {f"no ({number})": text for number, text in sentences.items()}
    return {pair: said[cell] for pair, cell in cells.items()}


def test_every_method_has_a_row_in_both_tables_and_no_row_is_of_something_else():
    described = PAGE.partition(script.BEGIN)[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", described, re.MULTILINE)) == sorted(METHODS)
    heads = [choice.title for choice in script.CHOICES] + list(script.FAMILIES.values())
    assert set(pairs_of_the_page()) == {(method, head) for method in METHODS for head in heads}, REMEDY


@pytest.mark.parametrize("place", range(len(script.CHOICES)), ids=[choice.title for choice in script.CHOICES])
def test_checks_say_what_the_page_says_of_one_method_a_choice(place):
    """The matrix has all methods."""
    choice, method = script.CHOICES[place], ("pepo", "gdpo", "grpo")[place % 3]
    assert script.refusal(configuration(method), choice.settings) == pairs_of_the_page()[method, choice.title], REMEDY


@pytest.mark.matrix
def test_table_of_the_page_is_what_the_checks_say_of_every_pair(tiny_models):
    assert script.markdown(tiny_models) == WRITTEN, REMEDY


def test_table_is_replaced_and_the_rest_of_the_page_is_kept():
    page = script.page_with("| x |\n")
    assert page.replace("| x |\n", WRITTEN) == PAGE


def test_pair_that_is_refused_is_told_with_the_sentence_of_the_check():
    config = configuration("gdpo")
    said = script.refusal(config, {"algorithm.use_kl_in_reward": True})
    assert "algorithm.adv_estimator=METHOD needs the reward" in said and not script.refusal(config, {})
    assert not config.algorithm.use_kl_in_reward, "the configuration is not changed"
