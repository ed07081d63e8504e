# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Position ids of rows of one length, packed by TransferQueue and selected by verl."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.upstream import patched_module
from tensordict import TensorDict
from transfer_queue.storage.managers.simple_storage_manager import AsyncSimpleStorageManager
from verl.utils import tensordict_utils as tu
from verl.workers import engine_workers
from verl.workers.engine import base

PATCH = "verl-0.9.1-position-ids-of-equal-lengths.patch"

LENGTHS = st.one_of(
    st.lists(st.integers(5, 30), min_size=1, max_size=6),
    st.tuples(st.integers(1, 6), st.integers(5, 30)).map(lambda given: [given[1]] * given[0]),
)
"""Lengths of the rows of a batch; half of the batches have one length. A prompt alone is longer than 4 tokens."""


def batch_of(lengths: list[int]) -> tuple[TensorDict, list[torch.Tensor]]:
    """A batch as TransferQueue packs it, and the position ids of its rows."""
    ids = [torch.randint(1000, (4, length)) for length in lengths]
    packed = AsyncSimpleStorageManager._pack_field_values(ids)
    return TensorDict({"position_ids": packed}, batch_size=len(ids)), ids


def same(found: torch.Tensor, expected: list[torch.Tensor]) -> bool:
    return all(torch.equal(*pair) for pair in zip(found.unbind(), expected, strict=True))


@given(lengths=LENGTHS, data=st.data())
def test_selected_rows_keep_their_position_ids(lengths, data):
    batch, ids = batch_of(lengths)
    chosen = data.draw(st.lists(st.integers(0, len(ids) - 1), min_size=1))
    for _ in range(2):  # verl corrects a batch, and then each of its mini-batches
        tu.maybe_fix_3d_position_ids(batch)
        assert same(batch["position_ids"], ids)
    selected = tu.index_select_tensor_dict(batch, chosen)
    tu.maybe_fix_3d_position_ids(selected)
    assert same(selected["position_ids"], [ids[row] for row in chosen])


def test_other_position_ids_are_left_alone():
    for ids in (torch.zeros(3, 5), torch.nested.as_nested_tensor([torch.zeros(5)] * 3, layout=torch.jagged)):
        batch = TensorDict({"position_ids": ids}, batch_size=3)
        tu.maybe_fix_3d_position_ids(batch)
        assert batch["position_ids"] is ids
    tu.maybe_fix_3d_position_ids(TensorDict({}, batch_size=3))


@pytest.mark.parametrize("user", [engine_workers, base, tu], ids=lambda module: module.__name__)
def test_users_of_the_function_have_the_correction(user):
    batch, ids = batch_of([7, 7, 7])
    user.maybe_fix_3d_position_ids(batch)
    assert same(batch["position_ids"], ids)


def test_verl_still_needs_the_correction():
    """When this test fails, verl has mended it: remove equal_lengths.py and its patch in docs/upstream/."""
    batch, _ = batch_of([7, 7, 7])
    tu.maybe_fix_3d_position_ids.__wrapped__(batch)
    with pytest.raises(RuntimeError):
        tu.index_select_tensor_dict(batch, [0])


@pytest.mark.parametrize("lengths", [[7, 7, 7], [7], [3, 7]])
def test_patch_for_verl_applies_to_the_installed_verl_and_mends_it(tmp_path, monkeypatch, lengths):
    patched = patched_module("verl.utils.tensordict_utils", PATCH, tmp_path, monkeypatch)
    batch, ids = batch_of(lengths)
    patched.maybe_fix_3d_position_ids(batch)
    assert same(patched.index_select_tensor_dict(batch, [*range(len(ids))])["position_ids"], ids)
