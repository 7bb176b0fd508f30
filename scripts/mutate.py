"""Which small changes of the source would no test notice? A sample of one-line mutants, and those that survive.

    python -m scripts.mutate src/pinxit/training/step.py --count 20
    python -m scripts.mutate --since main --count 40

Each mutant changes one expression: a comparison, a sum, a number, a keyword that is left out, a branch that is always
taken. The tests that mirror its file run against a copy of the source, so that the files themselves stay as they are;
what they let pass meets the tests of its command, of its room, of the modules that import it, and of all modules.
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


def mirrored(root: Path, file: Path) -> list[Path]:
    """The tests of a module: those in its room that bear or tell its name, else any that tell it, else further ones."""
    inside = file.relative_to(root / "src")
    room = root.joinpath("tests", *inside.parts[1:-1])
    own = room / f"test_{file.name}"
    while not room.is_dir():
        room = room.parent
    for folder in (room, root / "tests"):
        tests = sorted(folder.rglob("test_*.py"))
        found = [path for path in tests if path == own or _tells(path, rf"\b{re.escape(_name(root, file))}\b")]
        if found:
            return found
    return further(root, file, []) or [room]


def further(root: Path, file: Path, tried: Sequence[Path]) -> list[Path]:
    """The tests besides those tried that tell of a module, its command, its room, one that imports it, or of all."""
    name = _name(root, file)
    package, _, last = name.rpartition(".")
    words = '", "'.join(name.partition(".cli.")[2].split("."))
    imported = rf"\b{re.escape(name)}\b|from {re.escape(package)} import [^\n]*\b{last}\b"
    room = rf"from {re.escape('.'.join(name.split('.')[:2]))} import "
    ways = ["walk_packages", room, imported, *([rf'\((\w+, )?\[?"{words}"'] if words else [])]
    ways += [
        rf"\b{re.escape(_name(root, path))}\b"
        for path in (root / "src").rglob("*.py")
        if path.name != "__init__.py" and _tells(path, imported)
    ]
    tests = sorted((root / "tests").rglob("test_*.py"))
    return [path for path in tests if path not in tried and _tells(path, "|".join(ways))]


def _name(root: Path, file: Path) -> str:
    return ".".join(file.relative_to(root / "src").with_suffix("").parts).removesuffix(".__init__")


def _tells(path: Path, pattern: str) -> bool:
    return re.search(pattern, path.read_text(encoding="utf-8")) is not None


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
    found = []
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(root, shutil.copytree(root / "src", Path(folder) / "src"))
        for file, mutant in sorted(chosen, key=lambda pair: (pair[0], pair[1].line)):
            told, mirror = f"{file.relative_to(root)}:{mutant}", mirrored(root, file)
            if trial.notices(file, mutant, mirror):
                fate = "noticed "
            elif trial.notices(file, mutant, further(root, file, mirror)):
                fate = "noticed further on"
            else:
                fate = "SURVIVED"
                found.append(told)
            print(fate, told, flush=True)
    print(f"{len(found)} of {len(chosen)} survived")
    return found


class Trial:
    """Mutants tried in a copy of the source."""

    def __init__(self, root: Path, source: Path) -> None:
        self.root, self.source = root, source
        self.usual: dict[tuple[Path, ...], float] = {}  # seconds that tests take as it is

    def notices(self, file: Path, mutant: Mutant, tests: Sequence[Path]) -> bool:
        """Whether the tests notice; SystemExit if they fail without the mutant, too."""
        if not tests:
            return False
        if tuple(tests) not in self.usual:
            began = time.monotonic()
            if noticed(self.root, self.source, tests):
                raise SystemExit(f"tests fail as it is, one of {', '.join(map(str, tests))}")
            self.usual[tuple(tests)] = time.monotonic() - began
        place = self.source / file.relative_to(self.root / "src")
        place.write_text(mutant.source, encoding="utf-8")
        try:
            return noticed(self.root, self.source, tests, SLOWEST * self.usual[tuple(tests)] + 10)
        finally:
            shutil.copyfile(file, place)


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
