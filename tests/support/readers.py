# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Finds where Python code reads an attribute or a key of a configuration."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import verl

import verl_mapo

VERL, OURS = (Path(package.__path__[0]) for package in (verl, verl_mapo))

_READING = (ast.Attribute, ast.Subscript, ast.Call)


@cache
def reads(root: Path) -> tuple[tuple[str, str, str], ...]:
    """(name of the object, name of the attribute or key, file below ``root``) of everything that the code reads."""
    found = []
    for file in sorted(root.rglob("*.py")):
        where = str(file.relative_to(root))
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, _READING):
                found += [(_name(owner), key, where) for owner, key in _read(node)]
    return tuple(found)


def readers(root: Path, setting: str, whole: bool) -> set[str]:
    """The files that read a setting.

    Args:
        root: the package.
        setting: dotted path of the setting.
        whole: look for the node before the name, too, since other nodes have a setting of the same name.
    """
    *_, node, name = setting.split(".")
    nodes = {node, f"{node}_config", f"{node}_cfg", f"{node}_kwargs"}
    return {file for owner, key, file in reads(root) if key == name and (not whole or owner in nodes)}


def _read(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
        yield node.value, node.attr
    elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        yield from ((node.value, key) for key in _text(node.slice))
    elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("get", "pop", "select") and node.args:
        yield from ((node.func.value, key) for argument in node.args[:2] for key in _text(argument))
    elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "hasattr", "select"):
        yield from ((node.args[0], key) for key in _text(node.args[1]))


def _text(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value.split(".")[-1]


def _name(node: ast.AST) -> str:
    """The last name in an expression: ``c`` of ``a.b.c``, ``a.b["c"]`` and ``a.b.get("c", {})``."""
    if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "get" and node.args:
        return next(_text(node.args[0]), "")
    if isinstance(node, ast.Subscript):
        return next(_text(node.slice), "")
    return getattr(node, "attr", getattr(node, "id", ""))
