# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""From record to report, rows that differ are different questions, and a row at two steps is one question."""

from __future__ import annotations

import io
import json
import random
import tempfile
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from support.fake_queue import FakeQueue, scored_rows

from verl_mapo.report.load import RunData
from verl_mapo.run_folder import RunFolder, rollouts_file
from verl_mapo.training.question_id import question_id
from verl_mapo.training.records import RECORD_FIELDS, describe_rows
from verl_mapo.training.step_batch import StepBatch

TEXT = "What is the answer?"


def image_of(shade: int) -> Image.Image:
    return Image.new("RGB", (4, 3), (shade, 0, 0))


def bytes_of(shade: int) -> bytes:
    buffer = io.BytesIO()
    image_of(shade).save(buffer, "PNG")
    return buffer.getvalue()


def part_of(form: str, shade: int) -> dict:
    """An image as verl's data set puts it into a message, made anew at each call as it is at each validation."""
    if form == "path":
        return {"type": "image", "image": f"{shade}.png"}
    if form == "decoded":
        return {"type": "image", "image": image_of(shade)}
    data = bytes_of(shade)  # verl keeps the bytes beside the image; Arrow adds the empty path
    return {"type": "image", "bytes": data, "image": Image.open(io.BytesIO(data)), "path": None}


def prompt_of(form: str, shades: tuple[int, ...]) -> list[dict]:
    text = {"type": "text", "text": TEXT}
    return [{"role": "user", "content": [*(part_of(form, shade) for shade in shades), text]}]


ROWS = st.tuples(
    st.sampled_from(["first", "second"]),
    st.integers(0, 2),
    st.sampled_from(["A", "B"]),
    st.sampled_from(["path", "decoded", "bytes"]),
    st.lists(st.integers(0, 3), min_size=1, max_size=2).map(tuple),
)


def write_validation(folder: RunFolder, number: int, rows: list[tuple], rollouts: int) -> None:
    """Write the records of a validation, in another order and under new uids; the outcome is the row's place."""
    queue, places = FakeQueue(), random.Random(number).sample(range(len(rows)), len(rows))
    repeated = [place for place in places for _ in range(rollouts)]
    outcomes, count = [float(place) for place in repeated], len(repeated)
    sources, indices, truths, forms, shades = zip(*(rows[place] for place in repeated), strict=True)
    queue.fields = scored_rows([torch.ones(2)] * count, outcomes, [None] * count)
    queue.fields |= {
        "data_source": list(sources),
        "index": list(indices),
        "reward_model": [{"ground_truth": truth} for truth in truths],
        "raw_prompt": [prompt_of(form, shade) for form, shade in zip(forms, shades, strict=True)],
    }
    keys = [f"{number}-{place}_{turn % rollouts}_0" for turn, place in enumerate(repeated)]
    with pytest.MonkeyPatch.context() as patch:
        queue.install(patch)
        step = StepBatch.fetch(queue.batch(keys), number, fields=RECORD_FIELDS)
        lines = [json.dumps(record) + "\n" for record in describe_rows(step, "val")]
    file = rollouts_file(folder.trajectories, "val", number)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(lines))


def pairs_of(rows: list[tuple], rollouts: int = 2) -> list[tuple[set[float], set[float]]]:
    """The places of the rows that the report compares with each other, after two validations."""
    with tempfile.TemporaryDirectory() as path:
        folder = RunFolder(Path(path))
        for number in (1, 2):
            write_validation(folder, number, rows, rollouts)
        pairs = RunData.open(folder.path).held_out.pairs
    assert all(len(first) == len(last) == rollouts for first, last in pairs)
    return [tuple({each.outcome for each in rollouts} for rollouts in pair) for pair in pairs]


def test_26_pictures_given_as_bytes_with_three_texts_are_26_questions():
    rows = [("mathverse", 0, "ABC"[shade % 3], "bytes", (shade,)) for shade in range(26)]
    assert len(pairs_of(rows)) == 26


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ROWS, min_size=1, max_size=12, unique=True))
def test_every_row_is_a_question_of_its_own_and_the_same_at_the_next_validation(rows):
    found = pairs_of(rows)
    assert sorted(place for first, _ in found for place in first) == [*range(len(rows))]
    assert all(len(first) == 1 and first == last for first, last in found)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["a", "b"], ["ab"]),
        (["a", ["b"]], [["a"], "b"]),
        ({"a": None}, {}),
        (1, "1"),
        (True, 1),
        (b"a", "a"),
        (torch.tensor(1), torch.tensor(2)),
        (Decimal(1), Decimal(2)),
        ("\ud83d", "\ud83e"),
        (Image.new("L", (2, 3)), Image.new("L", (3, 2))),
        (Image.new("L", (2, 2)), Image.new("P", (2, 2))),
    ],
)
def test_values_that_differ_have_different_identities(one, other):
    assert question_id("s", 0, "A", one) != question_id("s", 0, "A", other)


def test_identity_is_that_of_the_value_and_not_of_the_object():
    same = [
        ({"a": 1, "b": [2]}, {"b": (2,), "a": np.int64(1)}),
        (np.array([1, 2]), [1, 2]),
        (torch.tensor(3), 3),
        (object(), object()),
        (image_of(3), image_of(3)),
    ]
    for one, other in same:
        assert question_id("s", 0, "A", one) == question_id("s", 0, "A", other)


def noise_of(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_truncated_pictures_are_different_questions_and_the_same_at_every_look():
    """Pillow raises at the first look at such a picture and, of some, shows the readable half at the second."""
    contents = [noise_of(seed)[:length] for seed in (0, 1) for length in (200, 2000, 9000)]
    for decoded in (False, True):
        parts = [
            {"type": "image", **({} if decoded else {"bytes": content}), "image": Image.open(io.BytesIO(content))}
            for content in contents
        ]
        first = [question_id("s", 0, "A", [part]) for part in parts]
        assert len(set(first)) == len(parts)
        for part in () if decoded else parts:
            with pytest.raises((OSError, SyntaxError)):
                part["image"].load()
        assert [question_id("s", 0, "A", [part]) for part in parts] == first


def test_pictures_that_differ_only_in_the_transparency_of_a_palette_are_different_questions():
    ids = set()
    for transparent in (None, 0, 1, b"\x00\xff", b"\x80\xff"):
        image = Image.new("P", (2, 1))
        image.putpalette([255, 0, 0, 0, 0, 255])
        buffer = io.BytesIO()
        image.save(buffer, "PNG", **({} if transparent is None else {"transparency": transparent}))
        decoded = Image.open(io.BytesIO(buffer.getvalue()))
        found = {question_id("s", 0, "A", [decoded]), question_id("s", 0, "A", [decoded.copy()])}
        assert len(found) == 1
        ids |= found
    assert len(ids) == 4, "transparency 0 is stored as the first of the two alphas"
