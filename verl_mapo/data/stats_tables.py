# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The figures of a converted set as tables of the command line."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from rich.markup import escape
from rich.table import Table

from verl_mapo.data.stats import SMALL_SIDE, DataStats, OfFamily, Spread
from verl_mapo.planning.arithmetic import GB


def tables(stats: DataStats) -> Iterator[Table]:
    """What the rows hold; what each family makes of them; which rows cannot be shown, if there are any."""
    yield _rows(stats)
    if stats.rows:
        yield _families(stats)
    if stats.faults:
        yield _faults(stats)


def _rows(stats: DataStats) -> Table:
    table = Table("", "", title=f"{stats.rows:,} rows, {len(stats.pixels):,} images", title_justify="left")
    for title, counts in (("data source", stats.sources), ("answers checked by", stats.styles)):
        for name, count in counts.most_common():
            table.add_row(f"{title} {escape(name)}", f"{count:,}")
    table.add_section()
    table.add_row("rows without an image", f"{stats.without_images:,}")
    table.add_row("rows with ground-truth boxes", f"{stats.with_boxes:,}")
    table.add_row("pixels of an image: p50 / p99 / most", _spread(Spread.of(stats.pixels)))
    if stats.small_share is not None:
        words = f"{stats.small_share:.1%}, where a zoom has little to reveal"
        table.add_row(f"images with a longest side under {SMALL_SIDE} px", words)
    return table


def _families(stats: DataStats) -> Table:
    batch, group = stats.step
    table = Table("", title="As the model sees them", title_justify="left")
    for family in stats.families:
        table.add_column(escape(family.name), justify="right")
    used = [family for family in stats.families if not family.refused]

    def line(title: str, values: dict[str, str]) -> None:
        table.add_row(title, *(values.get(family.name, "–") for family in stats.families))

    line("tokens of an image: p50 / p99 / most", {each.name: _spread(Spread.of(each.image_tokens)) for each in used})
    prompts = {each.name: _spread(Spread.of(each.prompts)) for each in used if each.prompts}
    line("tokens of a prompt: p50 / p99 / most", prompts)
    over = "rows" if prompts else "rows whose images alone are"
    line(f"{over} over data.max_prompt_length={stats.budget:,}", {each.name: _over(each, stats) for each in used})
    table.add_section()
    needs = {each.name: each.memory(batch, group, stats.pixels, stats.rows) for each in used}
    titles = {
        "decoded": f"host memory of a step: originals of {batch:,} prompts, decoded",
        "requests": f"images in the requests of {batch:,} x {group} rollouts",
        "features": "their pixel values in TransferQueue",
    }
    for key, title in titles.items():
        line(title, {name: f"{of_step[key] / GB:,.1f} GB" for name, of_step in needs.items()})
    refused = defaultdict(list)
    for each in stats.families:
        if each.refused:
            refused[each.refused].append(each.name)
    notes = [escape(f"{', '.join(names)}: {sentence}") for sentence, names in refused.items()]
    notes += ["Crops come on top: verl-mapo doctor --recipe PATH --data FILE. Without --model, no prompt is rendered."]
    table.caption = "\n".join(notes if not prompts else notes[:-1] + [notes[-1].partition(" Without")[0]])
    return table


def _over(family: OfFamily, stats: DataStats) -> str:
    over = family.over(stats.budget)
    return f"{over:,} ({over / stats.rows:.1%})"


def _faults(stats: DataStats) -> Table:
    count = stats.faults.total()
    title = f"{count:,} rows cannot be shown to a model; all figures are without them"
    table = Table("reason", "rows", "the first one", title=title, title_justify="left", style="red")
    for reason, rows in stats.faults.most_common():
        table.add_row(reason, f"{rows:,}", escape(stats.named[reason][0]))
    table.caption = "stats.json names more of them"
    return table


def _spread(spread: Spread | None) -> str:
    return "–" if spread is None else f"{spread.p50:,} / {spread.p99:,} / {spread.most:,}"
