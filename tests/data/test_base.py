# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What every data set has: a name, options that are checked, a name for each example."""

from __future__ import annotations

import pytest
from data.test_conversion import Counting

from verl_mapo.data import DATA_SETS, DataSet
from verl_mapo.data.geometry3k import Geometry3K
from verl_mapo.settings import ConfigError


def test_every_built_in_data_set_is_found_and_described():
    for name in DATA_SETS.names:
        found = DATA_SETS.find(name)
        assert issubclass(found, DataSet) and found.name and found.__doc__


def test_options_are_those_of_the_set():
    assert Geometry3K({"split": "test"}).options.split == "test" and Geometry3K().options.split == "train"
    with pytest.raises(ConfigError, match="--option.split='dev' is refused: it should be 'train', 'validation' or"):
        Geometry3K({"split": "dev"})
    with pytest.raises(ConfigError, match="did you mean --option.split"):
        Geometry3K({"splits": "test"})
    with pytest.raises(ConfigError, match="--option split is refused: counting has no options"):
        Counting({"split": "test"})


@pytest.mark.parametrize(
    ("example", "name"), [({"qid": "a", "index": 3}, "a"), ({"id": None, "index": 3}, "3"), ({"x": 1}, "7")]
)
def test_example_is_named_by_the_usual_columns_or_its_index(example, name):
    assert Counting().id_of(7, example) == name
