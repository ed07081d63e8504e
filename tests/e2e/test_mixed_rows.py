# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Real runs over data as people have it: good rows beside rows whose picture is missing, odd, or absent."""

from __future__ import annotations

import base64
import io
import struct
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw
from support.checked_run import check_parts_of_advantages, check_weights_changed
from support.real_run import metrics_of, rollouts_of, toy_overrides, train

from verl_mapo.report.build import build_report
from verl_mapo.report.findings import checked_alarms
from verl_mapo.report.load import RunData
from verl_mapo.rollout.statuses import EndReason
from verl_mapo.toy.dataset import SCHEMA

pytestmark = pytest.mark.e2e

RUNS = ["qwen2_5_vl-colocate_async", pytest.param("qwen3_vl-sync", marks=pytest.mark.matrix)]
N, STEPS, HELD_OUT = 8, 2, 4
KINDS = ["good", "missing", "transparent", "broken_exif", "text_only", "bytes"]


def broken_exif() -> bytes:
    """EXIF data whose camera name has the type of a fraction, and whose orientation is valid (a quarter turn)."""
    camera, orientation = struct.pack("<HHII", 0x010F, 5, 1, 38), struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    tiff = b"II*\0" + struct.pack("<IH", 8, 2) + camera + orientation + struct.pack("<III", 0, 7, 9)
    return b"Exif\0\0" + tiff


def write_rows(toy: Any, folder: Path) -> Path:
    """A parquet with two rows of each kind, made of rows of the toy; returns its path."""
    folder.mkdir()
    rows = []
    for number, row in enumerate(pq.read_table(toy.train).to_pylist()[: STEPS * len(KINDS)]):
        kind, (path,) = KINDS[number % len(KINDS)], row["images"]
        image, file = Image.open(path).convert("RGB"), folder / f"{kind}_{number}"
        if kind == "missing":
            path = folder / "not_mounted" / f"{number}.png"
        elif kind == "transparent":
            figure = Image.new("RGBA", image.size, (0, 0, 0, 0))
            ImageDraw.Draw(figure).rectangle((10, 10, 60, 60), outline=(0, 0, 0, 255), width=5)
            figure.save(path := file.with_suffix(".png"))
        elif kind == "broken_exif":
            image.save(path := file.with_suffix(".jpg"), exif=broken_exif())
        elif kind == "bytes":
            buffer = io.BytesIO()
            image.save(buffer, "PNG")
            path = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
        row["images"] = [str(path)]
        if kind == "text_only":
            row["images"], row["prompt"][-1]["content"] = [], "Which letter comes after A? Answer in one letter."
        row["data_source"] = kind
        row["extra_info"]["index"] = number
        rows.append(row)
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), file := folder / "train.parquet")
    return file


def write_bytes(toy: Any, file: Path) -> Path:
    """Held-out rows of the toy with the bytes of their images instead of paths."""
    rows = pq.read_table(toy.test).to_pylist()[:HELD_OUT]
    for row in rows:
        row["images"] = [{"bytes": Path(image).read_bytes()} for image in row["images"]]
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file


@pytest.fixture(scope="module", params=RUNS)
def run(request, photo_toy, toys, tmp_path_factory) -> Path:
    """Two steps over such rows in micro-batches of one, and a validation; those of Qwen2.5-VL are photographs.

    The name of the run folder has characters that mean something to hydra.
    """
    family, mode = request.param.split("-")
    toy, folder = photo_toy if family == "qwen2_5_vl" else toys[family], tmp_path_factory.mktemp("mixed")
    overrides = [
        *toy_overrides(toy),
        f"trainer.v1.trainer_mode={mode}",
        f"data.train_files={write_rows(toy, folder / 'data')}",
        f"data.val_files={write_bytes(toy, folder / 'test.parquet')}",
        f"data.picture_dir={folder / 'pictures'}",
        # a step may get both rows that cannot be shown; in other modes more often, because their rollouts end at once
        f"visual_tool.max_unreadable={0.5 if mode == 'sync' else 0.9}",
        "trainer.test_freq=2",
        "trainer.save_freq=2",
        f"data.train_batch_size={len(KINDS)}",
        f"actor_rollout_ref.actor.ppo_mini_batch_size={len(KINDS)}",
        "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=1",
        "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=1",
    ]
    run = folder / "lr=1e-4, 实验1 (copy)"
    metrics = train(run, overrides)
    assert sorted(metrics) == [1, 2] and "mapo/a_sem/std" in metrics[2]
    check_weights_changed(run, toy.model)
    return run


def rows_by_kind(run: Path) -> dict[str, list[dict[str, Any]]]:
    """The records of all training steps by the kind of their row."""
    found = defaultdict(list)
    for step in range(1, STEPS + 1):
        for record in rollouts_of(run, step):
            found[record["data_source"]].append(record)
    return found


def mode_of(run: Path) -> str:
    return RunData.open(run).config["trainer"]["v1"]["trainer_mode"]


def test_pictures_that_the_data_embed_become_files_which_the_records_name(run):
    records = [*rows_by_kind(run)["bytes"], *rollouts_of(run, STEPS, "val")]
    paths = {Path(name) for record in records for name in record["trajectory"]["images"]}
    assert paths and {path.parent.parent for path in paths} == {run.parent / "pictures"}
    assert all(path.is_file() for path in paths)


def test_records_of_mixed_rows_hold_the_parts_of_the_advantage(run):
    check_parts_of_advantages(rollouts_of(run, STEPS))


def test_only_the_rollouts_of_missing_pictures_end_before_their_first_turn(run):
    found = rows_by_kind(run)
    counts = {kind: len(records) for kind, records in found.items()}
    if mode_of(run) == "sync":
        assert counts == dict.fromkeys(KINDS, STEPS * N)
    else:  # a step takes the groups that have ended first
        assert sum(counts.values()) == STEPS * N * len(KINDS) and all(count % N == 0 for count in counts.values())
    ended = {kind: {record["trajectory"]["end_reason"] for record in found[kind]} for kind in KINDS}
    assert ended["missing"] == {EndReason.UNREADABLE_IMAGE}
    assert all(EndReason.UNREADABLE_IMAGE not in ended[kind] for kind in KINDS if kind != "missing"), ended
    assert all(record["advantage"] is None and not record["trajectory"]["turns"] for record in found["missing"])
    assert all(record["advantage"] is not None for kind in KINDS if kind != "missing" for record in found[kind])


def test_every_missing_picture_is_counted_in_metrics_and_report(run, tmp_path):
    shares, mode = [], mode_of(run)
    for step, metrics in metrics_of(run).items():
        # The mean: verl bans placeholders in vLLM alone, and after questions without an image they have a share.
        assert mode != "sync" or metrics["training/rollout_probs_diff_mean"] < 1e-3, step
        rollouts = [record["trajectory"] for record in rollouts_of(run, step) if record["trajectory"]["images"]]
        ended = [rollout["end_reason"] == EndReason.UNREADABLE_IMAGE for rollout in rollouts]
        shares.append(sum(ended) / len(ended))
        assert metrics["rollout_visual/unreadable_images/share"] == pytest.approx(shares[-1])
        assert metrics["actor/grad_norm"] > 0
    alarms = {alarm.watched: alarm.sentence for alarm in checked_alarms(RunData.open(run))}
    assert f"{sum(shares) / STEPS:.1%} of the training rollouts with images" in alarms["unreadable images"]
    assert len(rollouts_of(run, STEPS, "val")) == HELD_OUT and alarms["unreadable held-out images"] == ""
    files = build_report(run, tmp_path, samples=STEPS * len(KINDS) * N)
    page = files.html.read_text()
    assert "an image cannot be shown" in page
    assert "data:image" in page and files.curves.stat().st_size > 10_000
