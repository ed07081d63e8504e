# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What the nodes of a cluster have: the comparison, each question in this process, and how the question travels."""

from __future__ import annotations

import io
import subprocess
import sys

import ray
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from verl_mapo import cli, doctor, machine, nodes
from verl_mapo.doctor_tables import nodes_table
from verl_mapo.nodes import Node, Seen, checksum, cluster_address, compared, examine_nodes, faults, look, readable

WITHOUT_THE_PACKAGE = """
import pickle, sys

sys.modules["verl_mapo"] = sys.modules["verl"] = None  # cannot be imported
question = pickle.load(sys.stdin.buffer)
for answer in question(["/no/such/folder"], ("numpy", "no-such-distribution")):
    print(answer)
"""


def node(name: str, **found: str) -> Node:
    return Node(name, tuple(Seen(what, value, same=not what.startswith("any")) for what, value in found.items()))


@given(
    st.lists(st.dictionaries(st.sampled_from(["verl", "torch", "any_memory"]), st.sampled_from("12")), min_size=1),
)
def test_a_line_fails_exactly_where_it_must_be_the_first_nodes_and_is_not(found):
    asked = [node(f"n{place}", **lines) for place, lines in enumerate(found)]
    for before, after in zip(asked, compared(asked), strict=True):
        for line, checked in zip(before.lines, after.lines, strict=True):
            differs = line.same and line.found != found[0].get(line.what, line.found)
            assert (checked.level == "fails") is differs and (checked == line) is not differs


def test_difference_and_failure_are_told_with_the_node_and_the_wanted_value():
    broken = Node("gpu-2", (Seen("path /data", "cannot be read: Permission denied", "fails", "Mount it.", same=True),))
    told = faults(compared([node("head", verl="0.9.1"), node("gpu-1", verl="0.9.0"), broken]))
    assert told == [
        "node gpu-1, verl: 0.9.0. It is 0.9.1 on head: make them the same.",
        "node gpu-2, path /data: cannot be read: Permission denied. Mount it.",
    ]
    assert faults([broken, broken], told=["Mount it."]) == told[1:]


def test_table_has_a_column_a_node_and_does_not_repeat_what_is_the_same():
    found = [node("head", verl="0.9.1", ray="2.60.0"), node("gpu-1", verl="0.9.0", ray="2.60.0")]
    silent = Node("gpu-2", (Seen("answer", "none within 300 s", "fails"),))
    console = Console(width=100, file=io.StringIO(), force_terminal=True)
    console.print(nodes_table([*compared(found), silent]))
    lines = console.file.getvalue().splitlines()
    verl, rays = (next(line for line in lines if name in line) for name in ("verl", "ray"))
    assert "\x1b[31m0.9.0" in verl and "\x1b[32m0.9.1" in verl
    assert rays.count("2.60.0") == 1 and "\x1b[32msame" in rays and "no answer" in rays


def test_checksum_depends_on_every_name_and_byte_and_not_on_the_place_or_on_compiled_files(tmp_path):
    files = {"a.py": b"x = 1\n", "room/b.yaml": b"", "room/models/c.bin": bytes(range(256))}

    def written(name: str, files: dict[str, bytes]) -> str:
        for path, content in files.items():
            file = tmp_path / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        return checksum(tmp_path / name)

    first = written("first", files)
    assert written("again", {**files, "room/__pycache__/b.cpython-311.pyc": b"1"}) == first
    changed = [{**files, name: content + b"#"} for name, content in files.items()]
    renamed = [{f"{name}2" if name == chosen else name: files[name] for name in files} for chosen in files]
    fewer = [{name: files[name] for name in files if name != chosen} for chosen in files]
    sums = [written(f"other{number}", other) for number, other in enumerate([*changed, *renamed, *fewer])]
    assert len({first, *sums}) == 1 + len(sums)


def test_path_is_readable_if_it_can_be_opened_and_a_difference_of_its_size_is_seen(tmp_path):
    folder, file = tmp_path / "model", tmp_path / "model" / "config.json"
    folder.mkdir()
    file.write_text("{}")
    assert readable(str(file)) == (f"path {file}", "file, 2 bytes", "ok", "", True)
    assert readable(f"file://{file}")[1:] == readable(str(file))[1:]
    assert readable(str(folder))[1] == "folder, 1 entries, 2 bytes"
    for missing in (tmp_path / "none", file / "below", tmp_path / ("x" * 300)):
        what, found, level, words, same = readable(str(missing))
        assert (what, level, same) == (f"path {missing}", "fails", True)
        assert found.startswith("cannot be read: ") and "Mount it" in words


def test_node_without_this_package_is_told_apart_and_answers_for_its_other_packages_and_paths():
    """The question is code by value: nothing of this package is looked up on the node before it is asked for."""
    with nodes.question_by_value():
        question = ray.cloudpickle.dumps(look)
    done = subprocess.run([sys.executable, "-c", WITHOUT_THE_PACKAGE], input=question, capture_output=True)
    answers = {answer[0]: answer for answer in map(eval, done.stdout.decode().splitlines())}
    assert answers["files of verl_mapo"][1:3] == ("not installed", "fails"), done.stderr.decode()
    assert answers["plugin"][2] == "fails" and "ModuleNotFoundError" in answers["plugin"][1]
    assert answers["path /no/such/folder"][2] == "fails" and answers["no-such-distribution"][1] == "not installed"
    assert answers["numpy"][1][0].isdigit() and answers["numpy"][4]


def test_answers_hold_the_checks_of_the_machine_and_the_faults_of_the_plugin(monkeypatch):
    monkeypatch.setattr(doctor, "examine", lambda ray_actor: [doctor.Finding("driver", "trainers", "Not registered.")])
    monkeypatch.setattr(
        machine, "facts", lambda _: [machine.Fact("torch", "2", "fails", "x"), machine.Fact("GPUs", "8")]
    )
    answers = {answer[0]: answer[1:] for answer in look([], ("ray",))}
    assert answers["plugin"] == ("verl does not find all of it", "fails", "trainers: Not registered.", False)
    assert answers["GPUs"] == ("8", "ok", "", False) and answers["torch build"] == ("2", "fails", "x", False)
    assert answers["ray"] == (ray.__version__, "ok", "", True) and answers["files of verl_mapo"][1] == "ok"


def test_cluster_that_does_not_answer_is_said_in_words(monkeypatch):
    def refuse(*_, **__):
        raise ConnectionError("ray node not found at 10.0.0.1:6379.\nmore")

    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setattr(ray, "init", refuse)
    assert cluster_address() == "10.0.0.1:6379"
    (found,) = examine_nodes(cluster_address())
    (sentence,) = faults([found])
    assert "Ray cluster at 10.0.0.1:6379, answer: ray node not found at 10.0.0.1:6379. A run would not" in sentence
    assert "unset RAY_ADDRESS" in sentence


def test_doctor_looks_at_paths_on_this_node_where_there_is_no_cluster(monkeypatch, tmp_path):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(doctor, "examine", lambda *_: [])
    monkeypatch.setattr(machine, "facts", lambda *_: [])
    monkeypatch.setattr(nodes, "cluster_address", lambda: None)
    arguments = ["doctor", "--path", str(tmp_path)]
    assert CliRunner().invoke(cli.app, arguments).exit_code == 0
    done = CliRunner().invoke(cli.app, [*arguments, "--path", "/no/such/model"])
    assert done.exit_code == 1
    refused = CliRunner().invoke(cli.app, [*arguments, "--recipe", "recipes/mapo/qwen3_vl_8b.yaml"])
    assert refused.exit_code == 2 and "--path belongs to the checks of nodes" in " ".join(refused.output.split())
    assert "path /no/such/model: cannot be read: No such file" in " ".join(done.stdout.split())


def test_every_node_of_a_cluster_answers_or_is_named(monkeypatch):
    """Ray is started with one node; a second one, which has left since it was listed, cannot answer."""
    ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        (listed,) = ray.nodes()
        left = {**listed, "NodeID": "1" * 56, "NodeManagerHostname": "gpu-7", "NodeManagerAddress": "10.0.0.7"}
        monkeypatch.setattr(ray, "nodes", lambda: [left, listed])
        here, gone = nodes.ask_nodes(lambda what: [(what, str(1 / len(what)), "ok", "", True)], "asked", timeout_s=60)
        failed, _ = nodes.ask_nodes(lambda: 1 / 0, timeout_s=60)
        name = nodes.node_name()
    finally:
        ray.shutdown()
    assert here == Node(name, (Seen("asked", "0.2", same=True),))
    assert gone.name == "gpu-7 (10.0.0.7)" and [(line.what, line.level) for line in gone.lines] == [("answer", "fails")]
    assert failed.lines[0].found == "ZeroDivisionError: division by zero" and failed.lines[0].level == "fails"
