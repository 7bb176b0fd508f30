"""Which small changes of the source would no test notice? A sample of one-line mutants, and those that survive.

    python -m scripts.mutate src/pinxit/training/step.py --count 20
    python -m scripts.mutate --since main --count 40

Each mutant changes one expression: a comparison, a sum, a number, a keyword that is left out, a branch that is always
taken. The tests that mirror its file run against a copy of the source, so that the files themselves stay as they are.
Exits with 1 where a mutant survives: a test is owed, or a reason why it cannot matter.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
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
SLOWEST = 10  # times as long as the tests usually take, before a mutant counts as noticed


@dataclass(frozen=True)
class Mutant:
    """A source with one expression changed."""

    line: int
    old: str
    new: str
    source: str

    def __str__(self) -> str:
        old, new = (" ".join(text.split()) for text in (self.old, self.new))
        return f"{self.line}: {old} → {new}"


def mutants(source: str) -> list[Mutant]:
    """Every mutant of a module, in the order of its lines."""
    data = source.encode()
    starts = [0]
    for line in data.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = []
    for node in _changeable(ast.parse(source)):
        assert node.end_lineno is not None and node.end_col_offset is not None
        first, last = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
        old = data[first:last].decode()
        for other in _others(node):
            new = ast.unparse(other)
            text = data[:first].decode() + f"({new})" + data[last:].decode()
            found.append(Mutant(node.lineno, old, new, text))
    return sorted(found, key=lambda one: one.line)


def _changeable(tree: ast.AST) -> Iterator[ast.expr]:
    """Expressions that run and matter: no annotations, texts, decorators, assertions, error messages or imports."""
    for name, value in ast.iter_fields(tree):
        for node in value if isinstance(value, list) else [value]:
            if not isinstance(node, ast.AST) or name in ("annotation", "returns", "decorator_list"):
                continue
            if isinstance(node, ast.Assert | ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom):
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


def mirrored(root: Path, file: Path) -> list[Path]:
    """The tests of a module: those in its room that bear or tell its name, else any that tell it, else the room's."""
    inside = file.relative_to(root / "src")
    module = ".".join(inside.with_suffix("").parts).removesuffix(".__init__")
    room, named = root.joinpath("tests", *inside.parts[1:-1]), re.compile(rf"\b{re.escape(module)}\b")
    own = room / f"test_{file.name}"
    while not room.is_dir():
        room = room.parent
    for folder in (room, root / "tests"):
        tests = sorted(folder.rglob("test_*.py"))
        found = [path for path in tests if path == own or named.search(path.read_text(encoding="utf-8"))]
        if found:
            return found
    return [room]


def noticed(root: Path, source: Path, tests: Sequence[Path], limit: float | None = None) -> bool:
    """Whether any of the tests fails, or all take longer than `limit` seconds, with the package in `source`."""
    call = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *map(str, tests)]
    paths = os.pathsep.join([str(source), *filter(None, [os.environ.get("PYTHONPATH")])])
    about = os.environ | {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(call, cwd=root, env=about, capture_output=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return True
    return done.returncode != 0


def survivors(root: Path, files: Sequence[Path], count: int, seed: int = 0) -> list[str]:
    """Print the fate of `count` mutants of `files`, and give those that no test notices, "file:line: old → new"."""
    every = [(file, one) for file in files for one in mutants(file.read_text(encoding="utf-8"))]
    chosen = random.Random(seed).sample(every, min(count, len(every)))
    found, usual = [], dict[Path, float]()
    with tempfile.TemporaryDirectory() as folder:
        package = shutil.copytree(root / "src", Path(folder) / "src")
        for file, mutant in sorted(chosen, key=lambda pair: (pair[0], pair[1].line)):
            tests, place = mirrored(root, file), package / file.relative_to(root / "src")
            if file not in usual:
                began = time.monotonic()
                if noticed(root, package, tests):
                    raise SystemExit(
                        f"the tests of {file.relative_to(root)} fail as it is: {', '.join(map(str, tests))}"
                    )
                usual[file] = time.monotonic() - began
            place.write_text(mutant.source, encoding="utf-8")
            lives = not noticed(root, package, tests, SLOWEST * usual[file] + 10)
            shutil.copyfile(file, place)
            told = f"{file.relative_to(root)}:{mutant}"
            print("SURVIVED" if lives else "noticed ", told, flush=True)
            found += [told] if lives else []
    print(f"{len(found)} of {len(chosen)} survived")
    return found


def touched(root: Path, commit: str) -> list[Path]:
    """Modules of the package that differ from a commit."""
    call = ["git", "diff", "--name-only", "--diff-filter=d", commit, "--", "src"]
    names = subprocess.run(call, cwd=root, capture_output=True, text=True, check=True).stdout.split()
    return [root / name for name in names if name.endswith(".py")]


def main() -> None:
    """Sample, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="modules under src")
    parser.add_argument("--since", help="also those that differ from this commit")
    parser.add_argument("--count", type=int, default=20, help="how many mutants (20)")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws others (0)")
    options = parser.parse_args()
    files = [*(path.resolve() for path in options.files), *(touched(ROOT, options.since) if options.since else [])]
    if not files:
        parser.error("name files, or a commit with --since")
    sys.exit(bool(survivors(ROOT, sorted(set(files)), options.count, options.seed)))


if __name__ == "__main__":
    main()
