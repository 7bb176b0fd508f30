"""Which small changes of the source would no test notice? A sample of one-line mutants, and those that survive.

    python -m scripts.mutate src/pinxit/training/step.py --count 20
    python -m scripts.mutate --since main --count 40

Each mutant changes one expression: a comparison, a sum, a number, a keyword that is left out, a branch that is always
taken. Which tests run which line is found once, by all of them under coverage (pip install pytest-cov; some twenty
minutes), and kept in .mutate until a file changes; then each mutant meets the tests that run its statement, those that
run least first, against a copy of the source. Exits with 1 where one survives: a test is owed, or a reason why it
cannot matter.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scripts.map_tests import Coverage, mapped
from scripts.mutants import Mutant, mutants

ROOT = Path(__file__).parents[1]


def noticed(root: Path, source: Path, tests: Sequence[str]) -> bool:
    """Whether any of the tests, as pytest names them, fails with the package in `source`."""
    paths = os.pathsep.join([str(source), *filter(None, [os.environ.get("PYTHONPATH")])])
    about = os.environ | {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder) / "names"  # which may be too many for a command line
        names.write_text("\n".join(tests), encoding="utf-8")
        call = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"@{names}"]
        done = subprocess.run(call, cwd=root, env=about, capture_output=True, text=True, check=False)
    if "ERROR: not found" in done.stderr:
        raise SystemExit(f"{done.stderr.strip().splitlines()[-1]}: remove .mutate, which tells of other tests")
    return done.returncode != 0


def survivors(root: Path, files: Sequence[Path], count: int, seed: int, coverage: Coverage) -> list[str]:
    """Print the fate of `count` mutants of `files`, and give those that no test notices, "file:line: old → new"."""
    every = [(file, one) for file in files for one in mutants(file.read_text(encoding="utf-8"))]
    chosen = random.Random(seed).sample(every, min(count, len(every)))
    found = []
    with tempfile.TemporaryDirectory() as folder:
        source = shutil.copytree(root / "src", Path(folder) / "src")
        for file, mutant in sorted(chosen, key=lambda pair: (pair[0], pair[1].line)):
            told = f"{file.relative_to(root)}:{mutant}"
            tests = coverage.tests_of(file, mutant.statement)
            if tests and _noticed_as(root, source, file, mutant, tests):
                fate = "noticed "
            else:
                fate = "SURVIVED"
                found.append(told)
            print(fate, told, f"({len(tests)} tests run it)", flush=True)
    print(f"{len(found)} of {len(chosen)} survived")
    return found


def _noticed_as(root: Path, source: Path, file: Path, mutant: Mutant, tests: Sequence[str]) -> bool:
    place = source / file.relative_to(root / "src")
    place.write_text(mutant.source, encoding="utf-8")
    try:
        return noticed(root, source, tests)
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
    sys.exit(bool(survivors(ROOT, sorted(set(files)), options.count, options.seed, mapped(ROOT))))


if __name__ == "__main__":
    main()
