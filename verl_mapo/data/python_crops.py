# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Reads the box out of Python code that crops an image, as models wrote it for a sandbox. No code is executed.

Code of OpenCV (``image[y1:y2, x1:x2]``) and of Pillow (``image.crop((x1, y1, x2, y2))``) is read, if it opens one
image, crops it once and saves the crop at most once. It may compute the box with numbers and with the size of the
image, and resize the crop, which the zoom tool does as well. Whatever else touches an image or decides what is done,
such as a resize before the crop, a flip, arithmetic on pixels or a branch whose condition is not known, is refused:
the zoom tool would show another image.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Sequence
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


_REPORTING = frozenset(
    "print exit makedirs mkdir str format join exists isfile FileNotFoundError ValueError Exception IOError".split()
)
"""Names of functions that a branch may call although it is not known whether it runs."""

_ASIDE = _REPORTING | frozenset(
    "show basename dirname splitext uuid4 hex time strftime now randint choice getcwd len".split()
)
"""Names of functions that do nothing to an image; what they return is not known."""

_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}
_COMPARISONS: dict[type, Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "int": int, "float": float, "round": round, "max": max, "min": min, "abs": abs, "str": str, "list": list,
    "tuple": list,
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
        return _Reader(size_of).read(ast.parse(code))
    except (SyntaxError, ValueError, RecursionError) as error:
        if isinstance(error, NoCrop):
            raise
        raise NoCrop(f"the code is no Python: {error}") from None


_UNKNOWN = object()
"""A value that is not known before the code runs, and no image."""


@dataclass(frozen=True)
class _Image:
    """An image in the code: the opened one or its crop."""

    cropped: bool


class _Reader:
    """Follows a piece of code statement by statement, and refuses what it does not know."""

    def __init__(self, size_of: Callable[[str], Size]):
        self.size_of = size_of
        self.known: dict[str, Any] = {}
        self.files: list[str] = []
        self.boxes: list[Box] = []
        self.saved = 0

    def read(self, tree: ast.Module) -> Crop:
        self._run(tree.body)
        if len(self.boxes) != 1 or len(self.files) != 1 or self.saved > 1:
            raise NoCrop(
                f"the code crops {len(self.boxes)} times, opens {len(self.files)} images and saves {self.saved}"
            )
        return Crop(self.files[0], self.boxes[0])

    def _run(self, body: Sequence[ast.stmt]) -> None:
        for statement in body:
            self._follow(statement)

    def _follow(self, statement: ast.stmt) -> None:
        match statement:
            case ast.Import() | ast.ImportFrom() | ast.Pass():
                pass
            case ast.Expr(value=value):
                self._value(value)
            case ast.Assign(targets=[target], value=value):
                self._assign(target, self._value(value))
            case ast.AugAssign(target=ast.Name() as name, op=kind, value=value):
                self._assign(name, self._computed(kind, self._plain(name), self._plain(value)))
            case ast.If(test=test, body=body, orelse=orelse):
                self._branch(self._value(test), body, orelse)
            case ast.Try(body=body, handlers=handlers, orelse=orelse, finalbody=final):
                for handler in handlers:
                    self._check_report(handler.body)
                self._run([*body, *orelse, *final])
            case ast.With(items=[ast.withitem(context_expr=opened, optional_vars=ast.Name() as name)], body=body):
                self._assign(name, self._value(opened))
                self._run(body)
            case ast.For() | ast.While() | ast.FunctionDef() | ast.ClassDef() | ast.AsyncFunctionDef():
                raise NoCrop("the code has a loop or a function")
            case _:
                raise NoCrop(f"the code has the statement {ast.unparse(statement):.60}")

    def _branch(self, test: Any, body: Sequence[ast.stmt], orelse: Sequence[ast.stmt]) -> None:
        if test is True or test is False:
            self._run(body if test else orelse)
        else:
            self._check_report([*body, *orelse])

    def _check_report(self, body: Sequence[ast.stmt]) -> None:
        """Check that a block that may run or not does no more than report, raise, or make a folder."""
        for statement in body:
            nodes = list(ast.walk(statement))
            calls = [_name_of(node) for node in nodes if isinstance(node, ast.Call)]
            if not isinstance(statement, ast.Expr | ast.Raise | ast.Pass) or not _REPORTING.issuperset(calls):
                raise NoCrop(f"it is not known whether {ast.unparse(statement):.60} runs")
            if any(isinstance(node, ast.NamedExpr) for node in nodes):
                raise NoCrop(f"it is not known whether {ast.unparse(statement):.60} runs")

    def _assign(self, target: ast.expr, value: Any) -> None:
        match target:
            case ast.Name(id=name):
                self.known[name] = value
            case ast.Tuple(elts=parts) | ast.List(elts=parts) if all(isinstance(part, ast.Name) for part in parts):
                if isinstance(value, _Image) or (isinstance(value, list) and len(value) != len(parts)):
                    raise NoCrop(f"the code assigns to {ast.unparse(target):.60} what does not fit")
                values = value if isinstance(value, list) else [_UNKNOWN] * len(parts)
                self.known.update(zip((part.id for part in parts), values, strict=True))
            case _:
                raise NoCrop(f"the code assigns to {ast.unparse(target):.60}")

    def _value(self, node: ast.expr) -> Any:
        """The value of an expression: a number, a text, a list, an image, or :data:`_UNKNOWN`."""
        match node:
            case ast.Constant(value=bool() | int() | float() | str() | None as value):
                return value
            case ast.Name(id=name):
                return self.known.get(name, _UNKNOWN)
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                return [self._value(part) for part in parts]
            case ast.UnaryOp(op=kind, operand=operand):
                return self._unary(kind, self._plain(operand))
            case ast.BinOp(left=left, op=kind, right=right):
                return self._computed(kind, self._plain(left), self._plain(right))
            case ast.Compare(left=left, ops=kinds, comparators=others):
                values = [self._value(part) for part in (left, *others)]
                pairs = zip(kinds, values[:-1], values[1:], strict=True)
                return _conclusion([self._compared(kind, *two) for kind, *two in pairs], ast.And())
            case ast.BoolOp(op=kind, values=parts):
                return _conclusion([self._plain(part) for part in parts], kind)
            case ast.JoinedStr(values=parts):
                for part in parts:
                    if isinstance(part, ast.FormattedValue):
                        self._plain(part.value)
                return _UNKNOWN
            case ast.Call():
                return self._called(node)
            case ast.Attribute(value=of, attr=name):
                return self._attribute(self._value(of), name)
            case ast.Subscript(value=of, slice=index):
                return self._part(self._value(of), index)
        raise NoCrop(f"the code computes {ast.unparse(node):.60}")

    def _plain(self, node: ast.expr) -> Any:
        """The value of an expression that is no image and holds none."""
        value = self._value(node)
        if any(isinstance(one, _Image) for one in (value if isinstance(value, list) else [value])):
            raise NoCrop(f"the code computes with the pixels of {ast.unparse(node):.60}")
        return value

    def _unary(self, kind: ast.unaryop, value: Any) -> Any:
        if isinstance(kind, ast.Not):
            return not value if isinstance(value, bool) else _UNKNOWN
        return -value if isinstance(kind, ast.USub) and _is_number(value) else _UNKNOWN

    def _computed(self, kind: ast.operator, left: Any, right: Any) -> Any:
        texts = isinstance(kind, ast.Add) and isinstance(left, str) and isinstance(right, str)
        if type(kind) not in _OPERATORS or not (texts or (_is_number(left) and _is_number(right))):
            return _UNKNOWN
        try:
            return _OPERATORS[type(kind)](left, right)
        except (ZeroDivisionError, OverflowError):
            return _UNKNOWN

    def _compared(self, kind: ast.cmpop, left: Any, right: Any) -> Any:
        if isinstance(kind, ast.Is | ast.IsNot) and isinstance(left, _Image) and right is None:
            return isinstance(kind, ast.IsNot)
        if isinstance(left, _Image) or isinstance(right, _Image):
            raise NoCrop("the code compares pixels")
        known = type(kind) in _COMPARISONS and _is_number(left) and _is_number(right)
        return _COMPARISONS[type(kind)](left, right) if known else _UNKNOWN

    def _attribute(self, of: Any, name: str) -> Any:
        if not isinstance(of, _Image):
            return _UNKNOWN
        if name not in ("width", "height", "size", "shape"):
            raise NoCrop(f"the code reads the attribute {name} of an image")
        if of.cropped:
            return _UNKNOWN
        width, height = self.size_of(self.files[-1])
        return {"width": width, "height": height, "size": [width, height], "shape": [height, width, 3]}[name]

    def _part(self, of: Any, index: ast.expr) -> Any:
        if isinstance(of, _Image):
            return self._slice(of, index)
        for bound in (index.lower, index.upper, index.step) if isinstance(index, ast.Slice) else (index,):
            if bound is not None:
                self._plain(bound)
        match index:
            case ast.Slice(lower=None, upper=ast.Constant(value=int(end)), step=None):
                return of[:end] if isinstance(of, list | str) else _UNKNOWN
            case ast.Constant(value=int(place)) if isinstance(of, list) and -len(of) <= place < len(of):
                return of[place]
        if isinstance(of, list) and any(isinstance(one, _Image) for one in of):
            raise NoCrop("the code keeps images in a list")
        return _UNKNOWN

    def _slice(self, image: _Image, index: ast.expr) -> _Image:
        ranges = index.elts if isinstance(index, ast.Tuple) else [index]
        if len(ranges) != 2 or not all(isinstance(part, ast.Slice) and part.step is None for part in ranges):
            raise NoCrop(f"the code indexes pixels with [{ast.unparse(index).strip('()'):.60}]")
        rows, columns = ranges
        corners = (columns.lower, rows.lower, columns.upper, rows.upper)
        if None in corners:
            raise NoCrop("the code leaves out a side of its crop")
        box = [self._plain(corner) for corner in corners]
        for corner, value in zip(corners, box, strict=True):
            if value is not _UNKNOWN and (not isinstance(value, int) or value < 0):
                raise NoCrop(f"the code indexes pixels with {ast.unparse(corner):.60}, which is no whole number from 0")
        if not image.cropped:  # an array ends at its edge, where Pillow adds black pixels
            sides = self.size_of(self.files[-1]) * 2
            box = [value if value is _UNKNOWN else min(value, side) for value, side in zip(box, sides, strict=True)]
        return self._crop(image, box, f"[{ast.unparse(index).strip('()')}]")

    def _crop(self, image: _Image, box: Any, written: str) -> _Image:
        if image.cropped:
            raise NoCrop("the code crops a crop")
        values = box if isinstance(box, list) else [box]
        if any(value is _UNKNOWN for value in values):
            raise NoCrop(f"the code crops with {written:.80}, whose value is not known before it runs")
        if len(values) != 4 or not all(map(_is_number, values)):
            raise NoCrop(f"the code crops with {box!r:.80}")
        self.boxes.append(tuple(float(value) for value in values))
        return _Image(cropped=True)

    def _called(self, node: ast.Call) -> Any:
        name = _name_of(node)
        method = self._value(node.func.value) if isinstance(node.func, ast.Attribute) else None
        if name in self.known and method is None:
            raise NoCrop(f"the code calls {name}()")
        given = [self._value(argument) for argument in node.args]
        named = {word.arg: self._plain(word.value) for word in node.keywords}
        if isinstance(method, _Image):
            return self._method(method, name, node, given, named)
        if name in ("imread", "open") and isinstance(node.func, ast.Attribute):
            return self._open(given, named)
        images = [one for one in given if isinstance(one, _Image)]
        if images:
            return self._image_function(ast.unparse(node.func), images, given)
        if name in _FUNCTIONS and method is None and not named and given and _UNKNOWN not in given:
            try:
                return _FUNCTIONS[name](*given)
            except (TypeError, ValueError, OverflowError):
                return _UNKNOWN
        if name not in _ASIDE and name not in _FUNCTIONS:
            raise NoCrop(f"the code calls {name or ast.unparse(node.func)}()")
        return _UNKNOWN

    def _open(self, given: list[Any], named: dict[str, Any]) -> _Image:
        if len(given) != 1 or named or not isinstance(given[0], str):
            raise NoCrop("the code opens an image in a way or from a path that is not known")
        self.files.append(given[0])
        return _Image(cropped=False)

    def _method(self, image: _Image, name: str, node: ast.Call, given: list[Any], named: dict[str, Any]) -> Any:
        """A method of Pillow's images or of numpy's arrays."""
        if any(isinstance(one, _Image) for one in given):
            raise NoCrop(f"the code calls {name}() with two images")
        if name == "crop" and len(given) + len(named) == 1 and named.keys() <= {"box"}:
            return self._crop(image, [*given, *named.values()][0], ast.unparse(node))
        if not named and (name, given) in (("copy", []), ("convert", ["RGB"])):
            return image
        if name == "resize" and len(given) <= 2 and not named.keys() - {"size", "resample"}:
            return self._resized(image)
        if name == "save":
            return self._save(image)
        if name == "show" and not given:
            return None
        raise NoCrop(f"the code calls {name}()")

    def _image_function(self, name: str, images: list[_Image], given: list[Any]) -> Any:
        """A function of OpenCV or numpy that is given an image."""
        if len(images) == 1:
            if name == "cv2.resize" and given[0] is images[0]:
                return self._resized(images[0])
            if name == "cv2.imwrite":
                return self._save(images[0])
            if name in ("np.ascontiguousarray", "numpy.ascontiguousarray") and len(given) == 1:
                return images[0]
        raise NoCrop(f"the code calls {name}()")

    def _resized(self, image: _Image) -> _Image:
        if not image.cropped:
            raise NoCrop("the code resizes the image before it crops it")
        return image

    def _save(self, image: _Image) -> None:
        if not image.cropped:
            raise NoCrop("the code saves the image that it opened")
        self.saved += 1


def _name_of(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _conclusion(values: list[Any], kind: ast.boolop) -> Any:
    """What some truth values, known or not, give together with ``and`` or ``or``."""
    ends = isinstance(kind, ast.Or)
    if any(value is ends for value in values):
        return ends
    return not ends if all(value is not ends and isinstance(value, bool) for value in values) else _UNKNOWN


def _is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf
