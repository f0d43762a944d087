"""The source of the repository, parsed, for tests that read it."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


@dataclass(frozen=True)
class Module:
    """A parsed source file; `path` is relative to the repository, with forward slashes."""

    path: str
    source: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source, self.path)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Every node of the tree, each before its children."""
        return list(ast.walk(self.tree))

    @cached_property
    def names(self) -> list[str]:
        """Every dotted name that it imports, or reaches by its full name."""
        dotted = (ast.unparse(node) for node in self.nodes if is_dotted(node))
        return [*imports(self), *dotted]

    @property
    def name(self) -> str:
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def part(self) -> str:
        """The part of raysearch that it belongs to, such as "data" or "config"."""
        return self.name.partition(".")[2].partition(".")[0]


def read(*folders: str) -> list[Module]:
    """Return the modules of some folders."""
    return [module for folder in folders for module in _read(folder)]


@cache
def _read(folder: str) -> list[Module]:
    """Read the modules of a folder; a module is parsed once for all tests."""
    paths = sorted((REPOSITORY / folder).rglob("*.py"))
    return [Module(p.relative_to(REPOSITORY).as_posix(), p.read_text("utf-8")) for p in paths]


def imports(module: Module) -> Iterator[str]:
    """Every dotted name that a module imports, also inside of functions."""
    package = module.name if module.path.endswith("__init__.py") else module.name.rpartition(".")[0]
    for node in module.nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                up = parents[: len(parents) - node.level + 1]
                base = ".".join([*up, base] if base else up)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def is_dotted(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and (
        isinstance(node.value, ast.Name) or is_dotted(node.value)
    )


def functions(module: Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in module.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
