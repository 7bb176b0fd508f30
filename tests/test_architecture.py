"""The house stays a house: arrows between rooms point down, and `__all__` is exactly the public surface."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pinxit

SOURCE = Path(pinxit.__file__).parent
RECORDS = ("log", "benchmarks")  # what was done on a day, which stays as it was

# Top to bottom, as in docs/architecture.md; a module may import from its own room and from those below.
ROOMS = [
    ["cli", "__main__"],
    ["serve"],
    ["api"],
    ["recipes"],
    ["evaluation"],
    ["training"],
    ["pipelines"],
    ["data"],
    ["world"],
    ["text"],
    ["weights"],
    ["models"],
    ["functional"],
    ["cluster", "locks", "pictures"],
    ["files"],
    ["config", "types"],
    ["old_names"],
    ["schema", "texts"],
    ["errors"],
]
LEVEL = {name: level for level, names in enumerate(ROOMS) for name in names}
LEVEL["__init__"] = len(ROOMS)  # the package itself: only its version is read from inside


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in SOURCE.rglob("*.py")}


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the room"
            for alias in node.names:  # `from package import module` names the module, not the package
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else node.module or "")
    return {name for name in found if name.split(".")[0] == "pinxit"}


def test_every_module_stands_in_a_known_room() -> None:
    rooms = {room(module_name(path)) for path in SOURCE.rglob("*.py")}
    assert rooms <= LEVEL.keys()


def test_arrows_point_down() -> None:
    upward = [
        f"{module_name(path)} imports {name}"
        for path in SOURCE.rglob("*.py")
        if path != SOURCE / "__init__.py"  # the front door names the api lazily
        for name in imports(path)
        if room(name) in LEVEL and name not in ("pinxit", "pinxit.__version__")
        if LEVEL[room(name)] < LEVEL[room(module_name(path))]
    ]
    assert not upward


def test_no_cycle_between_modules() -> None:
    graph = {name: {i for i in imports(path) if i in MODULES and i != name} for name, path in MODULES.items()}
    graph["pinxit"] = set()  # its one import is lazy
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"import cycle: {' -> '.join((*trail, name))}"
        if name not in done:
            for target in graph[name]:
                visit(target, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_all_is_the_public_surface() -> None:
    assert sorted(pinxit.__all__) == ["__version__", "load", "load_clip", "load_upsampler"]
    public = {name for name in dir(pinxit) if not name.startswith("_") and f"pinxit.{name}" not in MODULES}
    assert public - {"annotations", "TYPE_CHECKING", "Any"} == set(pinxit.__all__) - {"__version__"}
    for name in pinxit.__all__:
        assert getattr(pinxit, name) is not None


def test_the_front_door_is_all_of_the_api() -> None:
    from pinxit import api

    own = {name for name, value in vars(api).items() if getattr(value, "__module__", None) == "pinxit.api"}
    assert {name for name in own if not name.startswith("_")} == set(pinxit.__all__) - {"__version__"}


def test_import_and_help_load_nothing_heavy() -> None:
    script = (
        "import sys, pinxit, pinxit.cli; "
        "heavy = {'torch', 'numpy', 'PIL', 'tokenizers', 'transformers', 'fastapi', 'uvicorn', 'ray'}\n"
        "heavy &= set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_programs_see_the_types() -> None:
    assert (SOURCE / "py.typed").is_file()


def test_extras_are_installed_from_a_clone() -> None:
    """pip would look for `pinxit[ray]` on an index, where there is none, unless pinxit was installed before."""
    root = Path(__file__).parents[1]
    extras = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    pages = [root / "README.md", *(root / "docs").glob("*.md")]
    told = {path: path.read_text("utf-8") for path in [*pages, *MODULES.values()] if path.stem not in RECORDS}
    assert [path for path, text in told.items() if re.search(r"pip install [\"']?pinxit", text)] == []
    asked = {extra for text in told.values() for extra in re.findall(r"""[^a-z_]install\(["'](\w+)""", text)}
    assert {"imagen", "ray", "search"} <= asked <= extras.keys()
