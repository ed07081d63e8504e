# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import io
import json
import re
import shutil
from html.parser import HTMLParser

import pytest
from PIL import Image

from verl_mapo.report.build import build_report
from verl_mapo.settings import ConfigError

HOSTILE = "</script></style></title><img src=x onerror=alert(1)>\"'><svg onload=alert(2)> {{ 7 * 7 }} \ud83d"


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self._within = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._within.append(tag)

    def handle_data(self, data):
        if self._within[-1:] != ["style"]:
            self.text.append(data)


def build(run, **changes):
    files = build_report(run, **changes)
    return Page(files.html.read_text("utf-8"))


def references(page):
    return [attributes[name] for _, attributes in page.tags for name in ("src", "href") if name in attributes]


def test_report_needs_no_other_file(whole_run):
    files = build_report(whole_run)
    text = files.html.read_text("utf-8")
    assert files.html.parent == whole_run and files.curves.stat().st_size > 0
    page = Page(text)
    assert references(page) and all(reference.startswith("data:image/") for reference in references(page))
    assert not re.search(r"https?://", text)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert len(text) < 5_000_000


def test_report_shows_headlines_alarms_and_trajectories(whole_run):
    said = " ".join(" ".join(build(whole_run).text).split())
    for words in (
        "some-run",
        "Held-out accuracy 0.0% → 50.0%",
        "No alarm. Watched: tool rate",
        "Groups of one prompt, step 1",
        "highest advantage",
        "alignment 0.30",
        "returned 60, 40, 120, 100",
        "requested 15, 10, 30, 25 in the model's units",
        "end: answer",
        "<answer>A</answer>",
    ):
        assert words in said, words


def test_source_and_its_continuations_are_drawn_side_by_side(forked_run):
    said = " ".join(" ".join(build(forked_run).text).split())
    first, other = said.split("Shared prefix, 7 tokens")[1:]
    for words in (
        "A prefix +1.15",
        "✓ recovered: 1 of 2 correct",
        "confidence of the call 0.81",
        "I should look closer. <tool_call>",
        "rollout outcome alignment advantage confidence turns end #0 0.00 0.30 +0.00 0.94 2 answer",
        "#1, source 0.00 0.30 +1.15 0.81 2 answer",
        "#1, the source ✗ outcome 0.00 alignment 0.30 masked out",
        "#3, continuation ✗ outcome 0.00 alignment 0.30 A res −0.25",
        "#4, continuation ✓ outcome 1.00 alignment 0.30 A res +0.75",
    ):
        assert words in first, words
    assert first.count("I should look closer.") == 1
    assert "A prefix +0.00" in other and "✗ not recovered: 0 of 2 correct" in other


def test_source_that_stays_in_the_loss_is_not_called_masked(forked_run):
    config = {"algorithm": {"axpo": {"unrecovered_source": "grpo"}}}
    (forked_run / "run.json").write_text(json.dumps({"config": config}))
    said = " ".join(" ".join(build(forked_run).text).split())
    assert said.count("masked out") == 1 and "#1, the source ✗ outcome 0.00 alignment 0.30 advantage +0.00" in said


def test_both_parts_of_the_advantage_are_in_the_table_where_axpo_uses_alignment(write_run, make_fork):
    records = [record | {"a_out": 0.5, "a_sem": 0.25} for record in make_fork([1.0, 0.0])]
    said = " ".join(" ".join(build(write_run(records={1: records})).text).split())
    assert "A_out A_sem advantage confidence turns end #0 0.00 0.30 +0.50 +0.25 +0.00 0.94 2 answer" in said


def test_report_of_a_run_without_axpo_does_not_mention_it(whole_run):
    said = "".join(build(whole_run).text)
    for word in ("prefix", "continuation", "Continuation", "Recovered", "confidence", "source"):
        assert word not in said, word


def test_same_run_and_seed_give_the_same_bytes(whole_run, tmp_path):
    one, two = (build_report(whole_run, tmp_path / name) for name in ("one", "two"))
    assert one.html.read_bytes() == two.html.read_bytes()
    assert one.curves.read_bytes() == two.curves.read_bytes()


def test_tokens_are_drawn_by_focus_and_by_advantage_with_their_numbers(write_run, make_record, make_credit):
    records = [make_record(session=i, outcome=float(i), credit=make_credit()) for i in range(2)]
    page = build(write_run(records={1: records}))
    said = " ".join(" ".join(page.text).split())
    for words in (
        "Focus and advantage of each token, step 1",
        "trajectory factor 1.25",
        "By focus 0.5000 0.6000 no colour: before the first image 1 It is 2 <b> A",
        "By advantage, after visual credit −1 0 +1 1 It is 2 <b> A",
    ):
        assert said.count(words) == (1 if "each token" in words else 2), words
    spans = [values for tag, values in page.tags if tag == "span" and "focus" in values.get("title", "")]
    assert [span["title"] for span in spans[:2]] == ["no focus, advantage −1.0000", "focus 0.5000, advantage −0.5000"]
    assert "style" not in spans[0] and spans[2]["style"] == "background: #cc79a7"


def test_report_of_a_run_without_focus_does_not_mention_it(whole_run):
    assert "Focus and advantage" not in "".join(build(whole_run).text)


def test_text_of_a_model_never_becomes_markup(write_run, make_record, make_turn, make_axpo, make_credit):
    turn = make_turn(text=HOSTILE, label=HOSTILE, tool=HOSTILE, observation=HOSTILE, score=None)
    written = {"turns": [turn, turn], "question": HOSTILE, "ground_truth": HOSTILE, "images": [f"/no/{HOSTILE}"]}
    credit = make_credit(tokens=[HOSTILE] * 4)
    records = [
        make_record(session=i, axpo=make_axpo(role, 0), credit=credit, data_source=HOSTILE + role, **written)
        for i, role in enumerate(("source", "plain", "resample"))
    ]
    metrics = {step: {f"val-core/{HOSTILE}/acc/mean@1": 0.5} for step in (0, 1)}
    run = write_run(metrics, {1: records})
    (run / "run.json").write_text(json.dumps({"command": HOSTILE, "config": {HOSTILE: HOSTILE}}))
    page = build(run)
    assert not [attributes for _, attributes in page.tags if any(name.startswith("on") for name in attributes)]
    assert all(reference.startswith("data:image/") for reference in references(page))
    assert "onerror=alert(1)" in "".join(page.text) and "{{ 7 * 7 }}" in "".join(page.text)


def test_header_has_command_settings_and_versions(whole_run):
    algorithm = {"adv_estimator": "mapo", "mapo": {"beta": 0.4}, "visual_credit": {"kappa": 0.2}}
    config = {"algorithm": algorithm, "trainer": {"nnodes": 1}}
    about = {"command": "verl-mapo train toy", "config": config, "started": "today", "versions": {"verl": "0.9.1"}}
    (whole_run / "run.json").write_text(json.dumps(about))
    said = " ".join(" ".join(build(whole_run).text).split())
    for words in ("verl-mapo train toy", "started today", "verl 0.9.1", "algorithm.mapo.beta 0.4", "All 4 settings"):
        assert words in said, words


@pytest.mark.parametrize(
    ("estimator", "shown"),
    [("mapo", {"mapo"}), ("axpo", {"axpo", "mapo"}), ("vgpo", {"visual_credit"}), ("grpo", set())],
)
def test_settings_of_the_enabled_methods_are_in_the_header(whole_run, estimator, shown):
    settings = {"mapo": {"beta": 0.4}, "axpo": {"alignment": True}, "visual_credit": {"kappa": 0.2}}
    algorithm = {"adv_estimator": estimator, **settings}
    (whole_run / "run.json").write_text(json.dumps({"config": {"algorithm": algorithm}}))
    said = " ".join(build(whole_run).text)
    in_header_and_in_all = 2
    for method, (setting,) in settings.items():
        assert said.count(f"algorithm.{method}.{setting}") == (in_header_and_in_all if method in shown else 1)


def test_missing_parts_of_a_run_are_named_in_the_report(write_run, make_record):
    assert "None were recorded" in "".join(build(write_run({1: {"mapo/outcome/mean": 0.5}}, name="a")).text)
    assert "No metrics were logged" in "".join(build(write_run(records={1: [make_record()]}, name="b")).text)
    gone = build(write_run(records={1: [make_record(images=["/nowhere/gone.png"])]}, name="c"))
    assert "image not found: gone.png" in "".join(gone.text)
    assert "No turns were recorded" in "".join(
        build(write_run(records={1: [make_record(trajectory=None)]}, name="d")).text
    )
    bare = make_record(alignment=None, advantage=None, a_out=None, a_sem=None)
    assert "#0, the only rollout" in "".join(build(write_run(records={1: [bare]}, name="e")).text)


def test_figures_by_data_source_are_in_a_table(two_source_run, whole_run):
    page_text = " ".join(" ".join(build(two_source_run).text).split())
    for words in (
        "Data sources",
        "Validation, step 0 Validation, step 5 Training, step 5",
        "a 20 0.0% 0.30 100.0% 20 100.0% 0.30 100.0% 2 50.0% 0.50 50.0%",
        "b 20 50.0% 0.30 100.0% 20 50.0% 0.30 100.0% no rollouts",
        "Held-out accuracy on a 0.0% → 100.0%",
    ):
        assert words in page_text, words
    assert "Data sources" not in "".join(build(whole_run).text)


def test_computed_image_is_shown_and_named_as_computed(write_run, make_record, make_turn):
    buffer = io.BytesIO()
    Image.new("RGB", (40, 20), (0, 0, 255)).save(buffer, "JPEG")
    turn = make_turn(tool="mark", computed=True, pixels=buffer.getvalue())
    page = build(write_run(records={1: [make_record(turns=[turn])]}))
    assert "computed from 60, 40, 120, 100" in " ".join("".join(page.text).split())
    (image,) = [values for tag, values in page.tags if values.get("alt") == "the image that the tool returned"]
    shown = Image.open(io.BytesIO(base64.b64decode(image["src"].split(",")[1])))
    assert shown.size == (40, 20) and shown.getpixel((20, 10))[2] > 200


def test_method_of_a_package_that_is_not_installed_is_left_out_with_a_warning(whole_run, caplog):
    config = {"algorithm": {"adv_estimator": "not_installed.methods:Method"}}
    (whole_run / "run.json").write_text(json.dumps({"config": config}))
    assert "Held-out accuracy" in "".join(build(whole_run).text)
    assert "algorithm.adv_estimator=not_installed.methods:Method is refused" in caplog.text


@pytest.mark.parametrize("name", ["lr=1e-4", "实验1", "mapo (copy)", "[1] {a} '$' \"b\" #?%.\\"])
def test_run_folder_may_have_any_name(whole_run, tmp_path, name):
    folder = shutil.copytree(whole_run, tmp_path / name)
    files = build_report(folder)
    assert files.html == folder / "report.html" and files.html.exists() and files.curves.exists()


def test_folder_that_is_not_a_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="give the folder that a training wrote to"):
        build_report(tmp_path)
