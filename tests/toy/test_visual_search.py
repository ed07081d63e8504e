# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Scenes are deterministic, and the answers of questions are right."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_mapo.settings import ConfigError, parse_node
from verl_mapo.toy.visual_search import CELL, GRID, LETTERS, OBJECTS, SHAPES, SIDE, VisualSearch, optional_question

SEEDS = st.integers(0, 2**31)


@settings(max_examples=20)
@given(seed=SEEDS, index=SEEDS)
def test_scene_depends_only_on_seed_split_and_index(seed, index):
    task = VisualSearch()
    scene, again = task.scene(seed, "train", index), task.scene(seed, "train", index)
    assert scene.objects == again.objects and scene.question == again.question
    assert np.array_equal(scene.image, again.image)
    for other in (task.scene(seed + 1, "train", index), task.scene(seed, "test", index)):
        assert other.objects != scene.objects


@settings(max_examples=20)
@given(seed=SEEDS, shared=st.booleans(), letters=st.integers(OBJECTS, len(LETTERS)))
def test_objects_have_different_cells(seed, shared, letters):
    task = VisualSearch(letters=letters, shared_letters=shared)
    scene = task.scene(seed, "train", 0)
    assert scene.image.size == (SIDE, SIDE) and scene.image.mode == "RGB"
    assert len({each.cell for each in scene.objects}) == len({each.colour for each in scene.objects}) == OBJECTS
    assert set(scene.empty_cells).isdisjoint(each.cell for each in scene.objects)
    assert len(scene.empty_cells) == GRID * GRID - OBJECTS
    for each in scene.objects:
        left, top = each.cell % GRID * CELL, each.cell // GRID * CELL
        assert left <= each.box[0] < each.box[2] <= left + CELL
        assert top <= each.box[1] < each.box[3] <= top + CELL
    found = [each.letter for each in scene.objects]
    assert set(found) <= set(task.alphabet)
    assert shared or len(set(found)) == OBJECTS


def test_with_two_letters_a_guess_is_correct_half_of_the_time():
    task = VisualSearch(letters=2, shared_letters=True)
    answers = [task.scene(0, "train", index).question.answer for index in range(300)]
    assert set(answers) == set(LETTERS[:2])
    assert 100 < answers.count(LETTERS[0]) < 200


@given(seed=SEEDS)
@settings(max_examples=50)
def test_answers_of_optional_questions_are_correct(seed):
    objects = VisualSearch().scene(seed, "train", 0).objects
    question = optional_question(objects, random.Random(seed))
    assert not question.needs_zoom
    if question.kind == "count":
        shape = {plural: shape for shape, plural in SHAPES.items()}[question.subject]
        assert question.answer == str([each.shape for each in objects].count(shape)) and question.target is None
    elif question.kind == "colour":
        assert [each.colour for each in objects if each.shape == question.target.shape] == [question.answer]
    else:
        assert [each.shape for each in objects if each.colour == question.target.colour] == [question.answer]


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_no_zoom_share_is_the_share_of_questions_without_a_zoom(share):
    task = VisualSearch(no_zoom_share=share)
    needs = [task.scene(0, "train", index).question.needs_zoom for index in range(200)]
    assert abs(1 - sum(needs) / 200 - share) < 0.12


def test_photographs_are_backgrounds_of_the_same_size():
    pytest.importorskip("skimage")
    task = VisualSearch(background="photos")
    images = [np.asarray(task.scene(0, "train", index).image) for index in range(4)]
    assert all(image.shape == (SIDE, SIDE, 3) for image in images)
    colours = [len(np.unique(image.reshape(-1, 3), axis=0)) for image in images]
    plain = np.unique(np.asarray(VisualSearch().scene(0, "train", 0).image).reshape(-1, 3), axis=0)
    assert min(colours) > 2 * len(plain)


@pytest.mark.parametrize(
    ("settings_given", "message"),
    [
        ({"letters": 3}, "letters=3 is too few for 5 objects"),
        ({"letter": 3}, "did you mean task.letters?"),
        ({"no_zoom_share": 2}, "task.no_zoom_share=2 is refused"),
        ({"background": "plain"}, "task.background='plain' is refused"),
    ],
)
def test_invalid_setting_is_refused_with_a_message(settings_given, message):
    with pytest.raises(ConfigError) as refusal:
        parse_node(VisualSearch, settings_given, "task")
    assert message in str(refusal.value)
