"""The direction of imports: a module imports from the rooms below its own, never from those above or beside it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "intact_fast"
KERNELS = PACKAGE.parent / "kernels"

LAYERS = (
    {"cli"},
    {"train"},
    {"commands"},
    {"experiments"},
    {"training"},
    {"reporting"},
    {"evaluation"},
    {"serving"},
    {"data", "models", "losses"},
    {"config"},
    {"files"},
    {"foreign_files", "tallies"},
    {"errors"},
    {"file_names", "json_text", "plain_values", "terminal", "unfinished", "yaml_text"},
)
"""From top to bottom. Rooms of one layer do not know each other."""

KERNEL_USERS = ("models", "training.step.plan")
"""Who may import the fused operators."""

EXTENSION_USERS = ("evaluation",)
"""Who may import the compiled ranking engine."""


def modules_below(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        # a checkout that is not installed has a link to the kernels in the package
        if prefix == "" and parts[0] == "kernels":
            continue
        yield ".".join((prefix, *parts) if prefix else parts).removesuffix(".__init__"), path


MODULES = {**dict(modules_below(PACKAGE, "")), **dict(modules_below(KERNELS, "kernels"))}


def imports_of(path: Path) -> Iterator[str]:
    """Modules of the package that a file imports, without the package's name, wherever in the file it does."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            # `from package import module` names a module, too
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            package, _, module = name.partition(".")
            if package == "intact_fast" and (module in MODULES or module == "_C"):
                yield module


def is_within(module: str, rooms: tuple[str, ...]) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def layer_of(room: str) -> int:
    return next(number for number, rooms in enumerate(LAYERS) if room in rooms)


@pytest.mark.parametrize("module", [name for name in MODULES if name != "__init__"])
def test_imports_point_down(module: str) -> None:
    room = module.split(".")[0]
    for imported in imports_of(MODULES[module]):
        below = imported.split(".")[0]
        if below == room:
            continue
        assert room != "kernels", f"kernels know nothing of the package, and {module} imports {imported}"
        if below == "kernels":
            assert is_within(module, KERNEL_USERS), f"{module} imports {imported}, which is for {KERNEL_USERS}"
        elif below == "_C":
            assert is_within(module, EXTENSION_USERS), f"{module} imports {imported}, which is for {EXTENSION_USERS}"
        else:
            assert layer_of(room) < layer_of(below), f"{module} imports {imported}, which is not below it"


def test_every_room_has_a_layer() -> None:
    rooms = {module.split(".")[0] for module in MODULES} - {"__init__", "kernels"}
    assert rooms == set().union(*LAYERS)


def test_no_module_is_imported_in_a_circle() -> None:
    imported = {module: set(imports_of(path)) - {module} for module, path in MODULES.items()}
    finished: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " → ".join((*above, module))
        if module not in finished and module in imported:
            for other in sorted(imported[module]):
                visit(other, (*above, module))
            finished.add(module)

    for module in imported:
        visit(module, ())
