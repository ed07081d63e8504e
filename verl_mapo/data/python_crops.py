# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Reads the box out of Python code that crops an image, as models wrote it for a sandbox. No code is executed.

Code of OpenCV (``image[y1:y2, x1:x2]``) and of Pillow (``image.crop((x1, y1, x2, y2))``) is read. It may enlarge the
crop, which the zoom tool does as well. Code that does anything else with the pixels has no box: the zoom tool would
show another image.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from verl_mapo.tools.coordinates import Box, Size


class NoCrop(ValueError):
    """The code is no plain crop of one image; the message says why."""


@dataclass(frozen=True)
class Crop:
    """A crop that code makes.

    Attributes:
        file: the path of the image that the code opens, as it is written in the code.
        box: in pixels of that image.
    """

    file: str
    box: Box


_KEEPING = frozenset(
    "imread open imwrite save resize thumbnail show join makedirs mkdir exists isfile basename dirname splitext copy "
    "uuid4 hex time strftime now randint choice getcwd print str int float round max min len abs format exit "
    "FileNotFoundError ValueError Exception IOError ascontiguousarray".split()
)
"""Names of functions that leave the pixels of a crop as they are, or only resize it."""

_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "int": int, "float": float, "round": round, "max": max, "min": min, "abs": abs, "str": str
}  # fmt: skip


def read_crop(code: str, size_of: Callable[[str], Size]) -> Crop:
    """The one crop that a piece of code makes.

    Args:
        code: Python source.
        size_of: the (width, height) in pixels of the image file that the code opens, for code that computes with it.

    Raises:
        NoCrop: the code is no Python, crops nothing or several times, computes its box from what is not known before
            it runs, or changes the image in another way.
    """
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise NoCrop(f"the code is no Python: {error}") from None
    return _Reader(size_of).read(tree)


class _Unknown(Exception):
    """A value is not known before the code runs."""


class _Reader:
    """Follows the assignments of a piece of code, in the order of the source."""

    def __init__(self, size_of: Callable[[str], Size]):
        self.size_of = size_of
        self.known: dict[str, Any] = {}
        self.files: list[str] = []
        self.boxes: list[Box] = []

    def read(self, tree: ast.Module) -> Crop:
        for statement in _statements(tree.body):
            self._follow(statement)
        if len(self.boxes) != 1 or len(set(self.files)) != 1:
            raise NoCrop(f"the code crops {len(self.boxes)} times and opens {len(set(self.files))} images")
        return Crop(self.files[0], self.boxes[0])

    def _follow(self, statement: ast.stmt) -> None:
        for node in _nodes(statement):
            if isinstance(node, ast.Call):
                self._call(node)
            elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple):
                self._slice(node.slice)
        if isinstance(statement, ast.Assign):
            for target in statement.targets:
                self._assign(target, statement.value)

    def _call(self, node: ast.Call) -> None:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in ("imread", "open") and node.args:
            path = self._value_or_none(node.args[0])
            if isinstance(path, str):
                self.files.append(path)
        elif name == "crop":
            arguments = node.args[0] if len(node.args) == 1 else ast.Tuple(node.args)
            self._add(self._value(arguments))
        elif name not in _KEEPING:
            raise NoCrop(f"the code calls {name or ast.unparse(node.func)}()")

    def _slice(self, slices: ast.Tuple) -> None:
        ranges = [part for part in slices.elts[:2] if isinstance(part, ast.Slice)]
        if len(ranges) == 2 and all(part.step is None for part in ranges):
            rows, columns = ranges
            corners = (columns.lower, rows.lower, columns.upper, rows.upper)
            if None in corners:
                raise NoCrop("the code leaves out a side of its crop")
            self._add([self._value(corner) for corner in corners])
        elif ranges:
            raise NoCrop(f"the code indexes pixels with [{ast.unparse(slices)}]")

    def _add(self, box: Any) -> None:
        if not isinstance(box, list | tuple) or len(box) != 4 or not all(isinstance(x, int | float) for x in box):
            raise NoCrop(f"the code crops with {box!r:.80}")
        self.boxes.append(tuple(float(x) for x in box))

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        found = self._value_or_none(value)
        if isinstance(target, ast.Name):
            self.known[target.id] = found
        elif isinstance(target, ast.Tuple | ast.List):
            names = [name.id if isinstance(name, ast.Name) else "" for name in target.elts]
            values = found if isinstance(found, list | tuple) and len(found) == len(names) else [None] * len(names)
            self.known.update(zip(names, values, strict=True))

    def _value_or_none(self, node: ast.expr) -> Any:
        try:
            return self._known_value(node)
        except _Unknown:
            return None

    def _value(self, node: ast.expr) -> Any:
        try:
            return self._known_value(node)
        except _Unknown:
            raise NoCrop(f"the code crops with {ast.unparse(node)}, whose value is not known before it runs") from None

    def _known_value(self, node: ast.expr) -> Any:
        """The value of an expression of numbers, texts and sizes of the opened image."""
        match node:
            case ast.Constant(value=int() | float() | str() as value):
                return value
            case ast.Name(id=name) if self.known.get(name) is not None:
                return self.known[name]
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                return [self._known_value(part) for part in parts]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self._number(operand)
            case ast.BinOp(left=left, op=kind, right=right) if type(kind) in _OPERATORS:
                try:
                    return _OPERATORS[type(kind)](self._number(left), self._number(right))
                except ZeroDivisionError:
                    raise _Unknown from None
            case ast.Call(func=ast.Name(id=name), args=arguments) if name in _FUNCTIONS and arguments:
                return self._called(name, [self._known_value(argument) for argument in arguments])
            case ast.Attribute(attr="width" | "height" | "size" | "shape" as what):
                return self._size(what)
            case ast.Subscript(value=value, slice=ast.Slice(lower=None, upper=upper)) if upper is not None:
                return self._known_value(value)[: int(self._number(upper))]
            case ast.Subscript(value=value, slice=ast.Constant(value=int() as index)):
                whole = self._known_value(value)
                if isinstance(whole, list | tuple) and -len(whole) <= index < len(whole):
                    return whole[index]
        raise _Unknown

    def _called(self, name: str, arguments: list[Any]) -> Any:
        try:
            return _FUNCTIONS[name](*arguments)
        except (TypeError, ValueError):
            raise _Unknown from None

    def _number(self, node: ast.expr) -> float:
        value = self._known_value(node)
        if not isinstance(value, int | float):
            raise _Unknown
        return value

    def _size(self, what: str) -> Any:
        """``width``, ``height`` and ``size`` of Pillow, ``shape`` of OpenCV, of the image opened last."""
        if not self.files:
            raise _Unknown
        width, height = self.size_of(self.files[-1])
        return {"width": width, "height": height, "size": (width, height), "shape": (height, width, 3)}[what]


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a block and of the blocks in it; what runs only in a loop or a function is not followed."""
    for statement in body:
        if isinstance(statement, ast.For | ast.While | ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            raise NoCrop("the code has a loop or a function")
        yield statement
        for block in ("body", "orelse", "finalbody"):
            yield from _statements(getattr(statement, block, []))
        for handler in getattr(statement, "handlers", []):
            yield from _statements(handler.body)


def _nodes(statement: ast.stmt) -> Iterator[ast.AST]:
    """The expressions of one statement, without those of the blocks in it."""
    for child in ast.iter_child_nodes(statement):
        if isinstance(child, ast.expr | ast.withitem | ast.keyword):
            yield from ast.walk(child)
