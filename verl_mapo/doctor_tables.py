# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The tables of ``verl-mapo doctor``, one for each theme."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Column, Table

from verl_mapo.doctor import Finding
from verl_mapo.machine import Fact
from verl_mapo.nodes import Node

if TYPE_CHECKING:
    from verl_mapo.planning.run import Line

_COLOURS = {"": "default", "ok": "green", "warns": "yellow", "fails": "red", "unchecked": "dim"}
_RESULTS = {"": "", "ok": "ok", "warns": "warning", "fails": "fails", "unchecked": "not checked"}


def dead_settings_table() -> Table:
    """The settings that a run refuses or warns of because nothing reads them, by the condition for that."""
    from verl_mapo.training.dead_settings_table import TABLE

    table = Table("", "", title="Settings without effect", show_header=False, box=None)
    for words in dict.fromkeys(row.when.words for row in TABLE):
        table.add_row("", f"\n[bold]{words}")
        for row in TABLE:
            if row.when.words == words:
                at_start = "[red]stops" if row.stops else "[yellow]warns"
                table.add_row(at_start, f"{row.node}: {', '.join(row.values)}\n[dim]{row.instead}")
    return table


def versions_table(versions: Iterable[tuple[str, str, Sequence[str]]]) -> Table:
    """The installed and the tested versions."""
    table = Table("package", "found", "tested", title="Versions")
    for name, found, tested in versions:
        mark = "green" if found.split("+")[0] in tested else "yellow"
        table.add_row(name, f"[{mark}]{found or 'not installed'}", ", ".join(tested))
    return table


def machine_table(facts: Iterable[Fact]) -> Table:
    """What the machine offers, and what would fail on it."""
    table = Table("what", "found", "result", title="Machine")
    for fact in facts:
        words = f"\n{escape(fact.words)}" if fact.words else ""
        table.add_row(fact.what, escape(fact.found) + words, _result(fact.level))
    return table


def _result(level: str) -> str:
    return f"[{_COLOURS[level]}]{_RESULTS[level]}"


def plan_table(lines: Iterable[Line]) -> Table:
    """What a run needs and what there is; what would not fit is red, and what fits only just, yellow."""
    table = Table("what", "needs", "has", Column("result", width=len("checked")), title="Plan")
    where = None
    for line in lines:
        if line.where != where:
            table.add_section()
            table.add_row(f"[bold]{line.where}")
        mark = f"[{_COLOURS[line.level]}]" if line.level in ("warns", "fails") else ""
        table.add_row(*(f"{mark}{escape(text)}" for text in (line.what, line.needs, line.has)), _result(line.level))
        where = line.where
    return table


def plan_words(lines: Sequence[Line]) -> Iterable[str]:
    """What will happen where something would not fit, and what to do, with the colours of the table.

    Then what is not checked, with what to give for it; and whether the run fits.
    """
    for line in lines:
        if line.words and line.level != "unchecked":
            yield f"[{_COLOURS[line.level]}]{escape(f'{line.where}, {line.what}: {line.words}')}"
    unchecked = [line for line in lines if line.level == "unchecked"]
    for words in dict.fromkeys(line.words for line in unchecked):
        whats = ", ".join(f'"{line.what}"' for line in unchecked if line.words == words)
        yield escape(f"Not checked: {whats}. {words}")
    levels = {line.level for line in lines}
    if "fails" not in levels:
        warned, known = ", with warnings" * ("warns" in levels), ", as far as it was checked" * bool(unchecked)
        yield (
            f'[green]This run fits{warned}{known}. Numbers with "at least" are lower bounds and those with "about" are '
            "estimates: leave room above them."
        )


def nodes_table(nodes: Sequence[Node]) -> Table:
    """What each node has, a column a node; what is the same as on the first node is not repeated."""
    table = Table("what", *(escape(node.name) for node in nodes), title="Nodes")
    answers = [{line.what: line for line in node.lines} for node in nodes]
    for what in dict.fromkeys(what for answer in answers for what in answer):
        lines = [answer.get(what) for answer in answers]
        table.add_row(escape(what), *(_node_cell(line, lines[0], place) for place, line in enumerate(lines)))
    return table


def _node_cell(line: Fact | None, first: Fact | None, place: int) -> str:
    if line is None:
        return "[yellow]no answer"
    same = place > 0 and line == first
    return f"[{_COLOURS[line.level]}]{'same' if same else escape(line.found)}"


def checks_table(findings: Iterable[Finding]) -> Table:
    """Whether verl finds what this package adds."""
    table = Table("where", "what", "", title="Checks")
    for finding in findings:
        table.add_row(finding.where, finding.what, "[red]missing" if finding.fault else "[green]ok")
    return table
