"""Who may import whom, read from the sources; and the size of the house."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("stars", "sweeps", "cluster", "analysis")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
MAY_IMPORT = {
    "stars": {"stars"},
    "analysis": {
        "analysis",
        "stars.results",
        "stars.sweep",
        "stars.store",
        "stars.outcome",
        "stars.parquet",
        "stars.terminal",
        "stars.trials",
    },
    "cluster": {"cluster", "analysis", "stars"},
    "sweeps": {"sweeps", "cluster.run", "cluster.several", "stars"},
}
FORBIDDEN = {
    "stars": {"ray", "pandas", "optuna"},
    "analysis": {"ray", "torch", "optuna"},
    "cluster": set(),
    "sweeps": {"ray", "torch", "pandas", "optuna"},
}


def imported(path: Path, *, for_types: bool = True) -> list[str]:
    """Every module that a file imports, as written; without `for_types`, only those loaded when the program runs."""
    names = []
    tree = ast.parse(path.read_text())
    if not for_types:
        tree.body = [node for node in tree.body if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node))]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    for name in imported(path):
        top = name.partition(".")[0]
        assert top not in FORBIDDEN[room], f"{path}: {room} imports {top}"
        if top in ROOMS:
            allowed = any(f"{name}.".startswith(f"{place}.") for place in MAY_IMPORT[room])
            assert allowed, f"{path}: {room} imports {name}"
    if "matplotlib" in {name.partition(".")[0] for name in imported(path)}:
        assert room == "analysis" or path.name == "draw.py", f"{path}: draws"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") < 350, f"{path}: a file of {text.count(chr(10))} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines < 60, f"{path}:{node.lineno}: {node.name} has {lines} lines"


def test_there_is_no_import_cycle() -> None:
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in SOURCES}
    edges = {
        module: {n for name in imported(path, for_types=False) for n in (name, name.rpartition(".")[0]) if n in modules}
        - {module}
        for module, path in modules.items()
    }
    done: set[str] = set()

    def visit(module: str, chain: tuple[str, ...]) -> None:
        assert module not in chain, f"cycle: {' > '.join((*chain, module))}"
        if module not in done:
            for other in sorted(edges[module]):
                visit(other, (*chain, module))
            done.add(module)

    for module in modules:
        visit(module, ())


@pytest.mark.parametrize(
    ("room", "absent"),
    [("analysis.load", ("torch", "ray")), ("analysis.table", ("torch", "ray")), ("stars.tune", ("ray", "pandas"))],
)
def test_a_room_loads_without_its_neighbours(room: str, absent: tuple[str, ...]) -> None:
    program = f"import sys, {room}; print([name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
