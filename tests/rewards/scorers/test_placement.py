# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Plans for clusters of any shape: copies are spread evenly, and training always finds its GPUs."""

from collections import Counter
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_mapo.rewards.scorers.placement import Node, Place, plan_places
from verl_mapo.rewards.scorers.settings import ScorerSettings
from verl_mapo.settings import ConfigError


def settings_of(**settings) -> ScorerSettings:
    return ScorerSettings(kind="dotted.path", placement="actor", **settings)


def cluster(*gpus: int) -> list[Node]:
    return [Node(f"node {index}", count, float(count)) for index, count in enumerate(gpus)]


def can_train(free: tuple[int, ...], bundles: list[int]) -> bool:
    """Whether some assignment of bundles to nodes exists, by trying all of them."""
    return any(
        all(sum(size for size, at in zip(bundles, chosen, strict=True) if at == node) <= free[node] for node in chosen)
        for chosen in product(range(len(free)), repeat=len(bundles))
    )


GPUS = st.lists(st.integers(0, 4), min_size=1, max_size=3)


@given(
    gpus=GPUS,
    bundles=st.lists(st.integers(1, 3), max_size=3),
    share=st.sampled_from([0.05, 0.3, 0.5, 1.0]),
    replicas=st.integers(1, 6),
)
def test_training_fits_beside_the_shares(gpus, bundles, share, replicas):
    settings = settings_of(num_gpus=share, replicas=replicas)
    try:
        places = plan_places(settings, cluster(*gpus), bundles)
    except ConfigError as error:
        assert f"scorer.num_gpus={share:g} is refused" in str(error)
        spare = sum(gpus) - sum(bundles)
        # GPUs may be left over in a way that no bundle fits; with bundles of one size nothing is refused needlessly.
        assert len(set(bundles)) > 1 or not can_train(tuple(gpus), bundles) or spare * int(1 / share + 1e-6) < replicas
        return
    held = Counter(place.node_id for place in places)
    used = [-(-held[f"node {index}"] // int(1 / share + 1e-6)) for index in range(len(gpus))]
    assert can_train(tuple(have - taken for have, taken in zip(gpus, used, strict=True)), bundles)
    assert sum(held.values()) == replicas and {place.device for place in places} == {"cuda"}


@given(gpus=GPUS, device=st.sampled_from(["cpu", "cuda", "cuda:2"]), replicas=st.integers(1, 20))
def test_copies_are_spread_evenly_over_nodes_and_gpus(gpus, device, replicas):
    nodes = cluster(*gpus)
    if device != "cpu" and not any(gpus):
        with pytest.raises(ConfigError, match=f"scorer.device='{device}' is refused: no node of the Ray cluster has"):
            plan_places(settings_of(device=device, replicas=replicas), nodes, [99])
        return
    places = plan_places(settings_of(device=device, replicas=replicas), nodes, [99])
    for node, count in zip(nodes, gpus, strict=True):
        if device == "cpu" or count:
            held = [place.device for place in places if place.node_id == node.node_id]
            assert replicas // len(nodes) <= len(held)
            if device == "cuda":
                each = [held.count(f"cuda:{number}") for number in range(count)]
                assert sum(each) == len(held) and max(each) - min(each) <= 1
            else:
                assert set(held) <= {device}
    counts = Counter(place.node_id for place in places).values()
    assert sum(counts) == replicas and max(counts) - min(counts) <= 1


@pytest.mark.parametrize(
    ("gpus", "bundles", "share", "replicas", "sentence"),
    [
        (
            [8],
            [8],
            0.05,
            1,
            "8 GPUs of the Ray cluster are free, training takes 8 of them whole",
        ),  # "7.95 is less than 8"
        ([8, 8], [8], 0.5, 17, "16 GPUs of the Ray cluster are free, training takes 8 of them whole"),
        ([8, 8], [8, 8], 1.0, 1, "set reward.description_alignment.scorer.num_gpus=0 with"),
        ([0], [], 0.5, 1, "0 GPUs of the Ray cluster are free"),
    ],
)
def test_share_that_training_needs_is_refused(gpus, bundles, share, replicas, sentence):
    with pytest.raises(ConfigError) as error:
        plan_places(settings_of(num_gpus=share, replicas=replicas), cluster(*gpus), bundles)
    assert sentence in str(error.value)


def test_shares_lie_on_the_node_that_training_does_not_fit_on():
    plan = plan_places(settings_of(num_gpus=0.5, replicas=3), cluster(8, 4), [8])
    assert plan == [Place("node 1", "cuda")] * 3, "a share on node 0 would leave 7.5 GPUs there, and 11.5 in sum"


def test_64_gpus_hold_16_copies_on_16_gpus():
    places = plan_places(settings_of(device="cuda", replicas=16), cluster(*[8] * 8), [8] * 8)
    assert len(set(places)) == 16 and {place.device for place in places} == {"cuda:0", "cuda:1"}
