# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Scorers by name or dotted path, and the options of a scorer from outside the package."""

import dataclasses

import pytest
from pydantic.dataclasses import dataclass
from support.scorers import NUMBER_SCORER, OPTIONS_SCORER, NumberScorer, OptionsScorer, picture

from verl_mapo.rewards.scorers.base import SCORERS, build_scorer, check_scorer, parse_options, scorer_class
from verl_mapo.rewards.scorers.clip import ClipScorer
from verl_mapo.rewards.scorers.http import HttpScorer
from verl_mapo.rewards.scorers.settings import ScorerSettings
from verl_mapo.settings import ConfigError

NODE = "reward.description_alignment.scorer"


def test_built_in_names_are_clip_and_http():
    assert SCORERS.names == ["clip", "http"]
    assert scorer_class("clip") is ClipScorer and scorer_class("http") is HttpScorer


def test_scorer_is_found_by_dotted_path():
    assert scorer_class(NUMBER_SCORER) is NumberScorer


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("clop", "there is no scorer 'clop': did you mean 'clip'? use one of clip, http, or the dotted path"),
        ("no.such.Scorer", "the dotted path 'no.such.Scorer' leads to no scorer"),
        ("os.path", "'os.path' is not a subclass of verl_mapo.rewards.scorers.base.AlignmentScorer"),
    ],
)
def test_unknown_scorer_is_refused(kind, sentence):
    for refuse in (scorer_class, lambda kind: check_scorer(ScorerSettings(kind=kind, model="a/b"))):
        with pytest.raises(ConfigError) as error:
            refuse(kind)
        assert f"{NODE}.kind='{kind}' is refused: {sentence}" in str(error.value)


def test_scorer_gets_its_options_parsed():
    scorer = build_scorer(ScorerSettings(kind=OPTIONS_SCORER, options={"factor": 2}))
    assert scorer.options == OptionsScorer.Options(factor=2.0)
    assert scorer.score(["label 1.5"], [picture(0)]) == [3.0]


def test_missing_options_take_their_defaults():
    settings = ScorerSettings(kind=OPTIONS_SCORER)
    check_scorer(settings)
    assert parse_options(settings) == OptionsScorer.Options()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"factr": 2},
            "options.factr=2 is not a setting; did you mean reward.description_alignment.scorer.options.fac",
        ),
        ({"factor": "two"}, "options.factor='two' is refused: "),
    ],
)
def test_invalid_option_is_refused(options, sentence):
    with pytest.raises(ConfigError) as error:
        check_scorer(ScorerSettings(kind=OPTIONS_SCORER, options=options))
    assert f"{NODE}.{sentence}" in str(error.value)


@pytest.mark.parametrize("kind", ["clip", NUMBER_SCORER])
def test_options_are_refused_by_a_scorer_without_any(kind):
    settings = ScorerSettings(kind=kind, model="a/b", options={"factor": 2})
    for refuse in (check_scorer, build_scorer):
        with pytest.raises(ConfigError, match=r"scorer\.options=\{'factor': 2\} is refused: .* has no options of its"):
            refuse(settings)


@pytest.mark.parametrize("decorate", [dataclasses.dataclass, dataclass])
def test_options_class_that_would_ignore_unknown_keys_is_refused(monkeypatch, decorate):
    @decorate
    class Options:
        factor: float = 1.0

    monkeypatch.setattr(OptionsScorer, "Options", Options)
    with pytest.raises(ConfigError, match="must be a pydantic dataclass with config=STRICT"):
        check_scorer(ScorerSettings(kind=OPTIONS_SCORER))
