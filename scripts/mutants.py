"""One-line changes of a module: a comparison, a sum, a number, a keyword left out, a branch that is always taken."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

OPERATORS: list[tuple[type[ast.AST], type[ast.AST]]] = [
    (ast.Lt, ast.LtE),
    (ast.LtE, ast.Lt),
    (ast.Gt, ast.GtE),
    (ast.GtE, ast.Gt),
    (ast.Eq, ast.NotEq),
    (ast.NotEq, ast.Eq),
    (ast.Is, ast.IsNot),
    (ast.IsNot, ast.Is),
    (ast.In, ast.NotIn),
    (ast.NotIn, ast.In),
    (ast.Add, ast.Sub),
    (ast.Sub, ast.Add),
    (ast.Mult, ast.Div),
    (ast.Div, ast.Mult),
    (ast.FloorDiv, ast.Mult),
    (ast.Mod, ast.Add),
    (ast.And, ast.Or),
    (ast.Or, ast.And),
]
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "mean": "amax", "amax": "mean", "floor": "ceil"}
TOLD = ("strict", "help", "show_default")  # keywords that only check or explain, as assertions and texts do


@dataclass(frozen=True)
class Mutant:
    """A source with one expression changed."""

    line: int
    old: str
    new: str
    source: str
    statement: range  # the lines of the statement it stands in; of one with a body those before it

    def __str__(self) -> str:
        old, new = (" ".join(text.split()) for text in (self.old, self.new))
        return f"{self.line}: {old} → {new}"


def mutants(source: str) -> list[Mutant]:
    """Every mutant of a module, in the order of its lines."""
    data = source.encode()
    starts = [0]
    for line in data.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found, tree = [], ast.parse(source)
    statements = [node for node in ast.walk(tree) if isinstance(node, ast.stmt)]
    for node in _changeable(tree):
        assert node.end_lineno is not None and node.end_col_offset is not None
        first, last = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
        old = data[first:last].decode()
        for other in _others(node):
            new = ast.unparse(other)
            text = data[:first].decode() + f"({new})" + data[last:].decode()
            found.append(Mutant(node.lineno, old, new, text, _statement(statements, node.lineno)))
    return sorted(found, key=lambda one: one.line)


def _statement(statements: Sequence[ast.stmt], line: int) -> range:
    """The lines of the innermost statement around a line."""
    around = [node for node in statements if node.lineno <= line <= (node.end_lineno or node.lineno)]
    inner = max(around, key=lambda node: node.lineno)
    body = getattr(inner, "body", None)
    end = body[0].lineno if body else (inner.end_lineno or inner.lineno) + 1
    return range(inner.lineno, max(end, line + 1))


def _changeable(tree: ast.AST) -> Iterator[ast.expr]:
    """Expressions that run and matter: no annotations, texts, decorators, assertions, error messages or imports."""
    for name, value in ast.iter_fields(tree):
        for node in value if isinstance(value, list) else [value]:
            if not isinstance(node, ast.AST) or name in ("annotation", "returns", "decorator_list"):
                continue
            if isinstance(node, ast.Assert | ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom):
                continue
            if isinstance(node, ast.keyword) and node.arg in TOLD:
                continue
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                continue
            if isinstance(node, ast.expr):
                yield node
            yield from _changeable(node)


def _others(node: ast.expr) -> Iterator[ast.expr]:
    """What may stand instead of an expression."""
    if isinstance(node, ast.Compare | ast.BinOp | ast.BoolOp):
        yield from _other_operators(node)
    elif isinstance(node, ast.IfExp):
        yield from (node.body, node.orelse)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
        value = node.value
        yield ast.Constant(not value if isinstance(value, bool) else value + 1 if value in (0, 1) else value * 2)
    elif isinstance(node, ast.Call):
        for place, keyword in enumerate(node.keywords):
            if keyword.arg is not None and keyword.arg not in TOLD:
                other = copy.copy(node)
                other.keywords = [one for number, one in enumerate(node.keywords) if number != place]
                yield other
        yield from _other_functions(node)


def _other_operators(node: ast.Compare | ast.BinOp | ast.BoolOp) -> Iterator[ast.expr]:
    for old, new in OPERATORS:
        other = copy.copy(node)
        if isinstance(other, ast.Compare):
            if len(other.ops) == 1 and isinstance(other.ops[0], old):
                other.ops = [new()]  # type: ignore[list-item]
                yield other
        elif isinstance(other.op, old):
            other.op = new()  # type: ignore[assignment]
            yield other


def _other_functions(node: ast.Call) -> Iterator[ast.expr]:
    function = copy.copy(node.func)
    if isinstance(function, ast.Name) and function.id in NAMES:
        function.id = NAMES[function.id]
    elif isinstance(function, ast.Attribute) and function.attr in NAMES:
        function.attr = NAMES[function.attr]
    else:
        return
    other = copy.copy(node)
    other.func = function
    yield other
