"""The floors of the house (docs/architecture.md): an import runs downwards or stays on its floor, never up.

cli, api, registry.server, serving     who is spoken to
operations                             what can be done to images
transfer, registry, store              bytes in motion, what is known, where bytes are kept
model, context, config, config_check, durable, errors, faults, log
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
FACES, OPERATIONS, MEANS, GROUND = 3, 2, 1, 0
# The longest prefix decides: registry.server is a face of its own, the rest of registry is not.
FLOORS = {
    "api": FACES,
    "cli": FACES,
    "serving": FACES,
    "registry.server": FACES,
    "operations": OPERATIONS,
    "transfer": MEANS,
    "registry": MEANS,
    "store": MEANS,
    "model": GROUND,
    "context": GROUND,
    "durable": GROUND,
    "config": GROUND,
    "config_check": GROUND,
    "log": GROUND,
    "errors": GROUND,
    "faults": GROUND,
}
FILES = sorted((TOP / "image_service").rglob("*.py"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(TOP).with_suffix("").parts).removesuffix(".__init__")


def floor_of(module: str) -> int:
    if module == "image_service":
        return GROUND
    known = [prefix for prefix in FLOORS if f"{module}.".startswith(f"image_service.{prefix}.")]
    assert known, f"{module} stands on no floor: give it one in FLOORS, and in docs/architecture.md"
    return FLOORS[max(known, key=len)]


def imports_of(text: str, package: str) -> Iterator[tuple[int, str]]:
    """Line and module of each import of our own in ``text``, also inside functions and under TYPE_CHECKING.

    ``package`` is what a relative import starts from.
    """
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: 1 - node.level or None] if node.level else []
            module = ".".join([*above, *filter(None, [node.module])])
            names = [_module_or_name(module, name.name) for name in node.names]
        else:
            continue
        yield from ((node.lineno, name) for name in names if f"{name}.".startswith("image_service."))


def _module_or_name(module: str, name: str) -> str:
    """`from image_service.registry import server` imports a module, `... import Registry` a name in one."""
    inner = TOP.joinpath(*module.split("."), name)
    return f"{module}.{name}" if inner.is_dir() or inner.with_suffix(".py").exists() else module


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_no_import_runs_upward(path: Path) -> None:
    importer = module_of(path)
    imports = list(imports_of(path.read_text(), module_of(path.parent)))
    upward = [f"line {line}: {name}" for line, name in imports if floor_of(name) > floor_of(importer)]
    assert not upward


def test_every_spelling_of_an_import_is_seen() -> None:
    text = """
def late():
    import image_service.registry.server
    from image_service.registry import server
    from ..operations import images
    from . import interface
    from .interface import Store
"""
    assert [name for _, name in imports_of(text, "image_service.store")] == [
        "image_service.registry.server",
        "image_service.registry.server",
        "image_service.operations.images",
        "image_service.store.interface",
        "image_service.store.interface",
    ]


def test_the_longest_prefix_decides_the_floor() -> None:
    assert floor_of("image_service.registry.server.calls") == FACES
    assert floor_of("image_service.registry.database") == MEANS


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_files_stay_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400
