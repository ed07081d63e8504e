# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Overrides through hydra's own parser, OmegaConf and a real shell."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from verl_mapo.overrides import (
    check_data_path,
    check_overrides,
    hydra_folder_override,
    in_shell,
    last_value,
    path_override,
)
from verl_mapo.settings import ConfigError

SPECIAL = ["实", "é", "🙂", "${", "\\${", "\\\\", "${a.b}", "$(", '\\"', "\\'", "???", "null", "*"]
PIECES = st.sampled_from([*"ab=,[]{}()$\\'\"# :;~@%!?&|<>+-\t\n", *SPECIAL])
PATHS = st.lists(PIECES | st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
NAMED = [
    "lr=1e-4",
    "实验1",
    "mapo (copy)",
    'it\'s "one"',
    "${trainer.name}",
    "a\\",
    "[1]",
    "{a: b}",
    "a,b",
    "-x",
    "# 1",
]
NAMED = [f"/runs/{name}" for name in NAMED]


def read_back(override: str) -> str:
    """The value that a run gets from an override: hydra parses it, and OmegaConf resolves interpolations."""
    parsed = OverridesParser.create().parse_override(override)
    assert not parsed.is_sweep_override()
    return OmegaConf.create({"value": parsed.value()}).value


@settings(max_examples=400)
@given(PATHS.map("".join))
@example("a\\")
@example("a\\\\${b}")
def test_hydra_reads_back_exactly_the_path(text):
    assert read_back(path_override("trainer.default_local_dir", f"/{text}")) == f"/{text}"


@pytest.mark.parametrize("path", NAMED)
def test_hydra_reads_back_the_paths_that_ended_in_its_lexer_error(path):
    assert read_back(path_override("hydra.run.dir", path)) == path


@settings(max_examples=400)
@given(PATHS.map("".join))
def test_printed_override_is_one_word_of_a_shell(text):
    override = path_override("data.train_files", f"/{text}")
    assert shlex.split(in_shell(override)) == [override]


@pytest.mark.parametrize("path", NAMED)
def test_pasted_override_reaches_the_program_unchanged(path):
    override = path_override("data.train_files", path)
    done = subprocess.run(["bash", "-c", f"printf %s {in_shell(override)}"], capture_output=True, text=True, check=True)
    assert done.stdout == override


APP = """
import hydra
from hydra.core.hydra_config import HydraConfig

@hydra.main(version_base=None)
def main(config):
    print(HydraConfig.get().runtime.output_dir, end="")

main()
"""


@pytest.mark.parametrize("name", ["lr=1e-4", "实验1", "mapo (copy)", 'a, [b] {c} it\'s "x" $y\\ #:~%\n-'])
def test_hydra_itself_writes_into_the_folder(tmp_path, name):
    app, folder = tmp_path / "app.py", tmp_path / name / "hydra"
    app.write_text(APP)
    command = [sys.executable, str(app), hydra_folder_override(folder), f"+{path_override('x', folder)}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == str(folder) and OmegaConf.load(folder / ".hydra" / "config.yaml").x == str(folder)


def test_plain_path_is_printed_without_quotes():
    assert in_shell(path_override("data.train_files", "/data/a-1/train.parquet")) == (
        "data.train_files=/data/a-1/train.parquet"
    )


def test_path_that_is_not_utf8_is_refused_in_words():
    with pytest.raises(ConfigError, match=r"hydra\.run\.dir=.*is refused: the path is not valid UTF-8"):
        path_override("hydra.run.dir", b"/runs/\xff".decode(errors="surrogateescape"))


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("actor_rollout_ref.model.path=/models/lr=1e-4", "hydra does not read it"),
        ("data.train_files=/data/a,b.parquet", "hydra takes it for several values"),
        ("data.train_files=/data/mapo (copy)", "hydra does not read it"),
        ("trainer.default_local_dir=runs/实验1", "hydra does not read it"),
    ],
)
def test_override_that_hydra_cannot_read_is_refused_with_the_form_to_write(override, reason):
    with pytest.raises(ConfigError) as error:
        check_overrides(["method=mapo", override])
    assert f"{override} is refused: {reason}" in str(error.value)
    form = str(error.value).partition("one value, write ")[2]
    [corrected] = shlex.split(form)
    check_overrides([corrected])
    assert read_back(corrected) == override.partition("=")[2]


def test_text_without_a_value_is_refused():
    with pytest.raises(ConfigError, match="mapo is no override: write SETTING=VALUE"):
        check_overrides(["mapo"])


def test_option_that_the_command_does_not_have_is_refused():
    with pytest.raises(ConfigError, match="--recipie is no option of this command: --help lists"):
        check_overrides(["method=mapo", "--recipie"])


@pytest.mark.parametrize("plus", ["", "+", "++"])
def test_weights_given_at_once_are_refused_because_hydra_would_keep_the_others(plus):
    with pytest.raises(ConfigError, match=r"keeps the others. Set each weight by itself: algorithm.gdpo.reward_terms."):
        check_overrides([f"{plus}algorithm.gdpo.reward_terms={{outcome:1}}"])
    check_overrides([f"{plus}algorithm.gdpo.reward_terms.outcome=1"])


def test_every_form_of_override_is_accepted():
    check_overrides(
        [
            "a.b=1",
            "+a.b=[1,2]",
            "++a={b:c}",
            "~a.b",
            "a=null",
            "a='x=y'",
            "data.x=${data.y}",
            "method=axpo",
        ]
    )


@pytest.mark.parametrize(
    ("overrides", "value"),
    [
        ([], None),
        (["trainer.total_training_steps=4"], 4),
        (["trainer.total_training_steps=4", "a=b", "+trainer.total_training_steps=9"], 9),
        (["trainer.total_training_steps=null"], None),
    ],
)
def test_last_override_gives_the_value(overrides, value):
    assert last_value(overrides, "trainer.total_training_steps") == value


@pytest.mark.parametrize(
    "name", ["lr=1e-4", "实验1", "mapo (copy)", "a, {b} $c '\"", "[a", "[1]", "a*", "a?", "a::b", "[!a]"]
)
def test_path_of_data_is_read_as_one_file_or_refused(tmp_path, name):
    path = tmp_path / name / "train.parquet"
    path.parent.mkdir()
    pq.write_table(pa.table({"folder": [name]}), path)
    if name in ("[1]", "a*", "a?", "a::b", "[!a]"):
        with pytest.raises(
            ConfigError, match=r"--out=.* is refused: .*takes \*, \?, \[\.\.\.\] and :: for parts of a pattern"
        ):
            check_data_path("--out", path)
    else:
        check_data_path("--out", path)
        rows = load_dataset("parquet", data_files=str(path), cache_dir=str(tmp_path / "cache"))["train"]
        assert list(rows["folder"]) == [name]
