"""Mutants of a module: its source with a single small fault.

Left alone are what no test should pin down: docstrings, annotations, messages of errors and of the
log, f-strings, assertions and `__repr__`.
"""

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
CALLS = {
    **{"min": "max", "max": "min", "any": "all", "all": "any"},
    **{"minimum": "maximum", "maximum": "minimum", "argmin": "argmax", "argmax": "argmin"},
    **{"floor": "ceil", "ceil": "floor", "amin": "amax", "amax": "amin", "mean": "sum"},
}
WRAPPERS = frozenset({"abs", "sorted", "sqrt", "log", "exp", "fsum"})
"""Functions that a mutant leaves out: their argument takes their place."""

UNMUTATED_CALLS = frozenset(
    {"debug", "info", "warning", "error", "exception", "warn", "UserError", "DataError", "kill"}
)
"""Functions of messages, and the one that ends processes of others with wrong arguments."""

FALSE = frozenset({"None", "False", "{}", "[]", "()", "''", "0"})
"""Values that are as false as None."""


@dataclass(frozen=True)
class Mutant:
    """A module with a single fault.

    Attributes:
        path: of the module, relative to the repository.
        lines: of the smallest statement around the fault, first and last.
        at_import: True for code that runs at import, outside of functions.
        operator: the kind of the fault.
        before: code that the fault replaces.
        after: its replacement.
        source: of the whole module, with the fault.
    """

    path: str
    lines: tuple[int, int]
    at_import: bool
    operator: str
    before: str
    after: str
    source: str


@dataclass(frozen=True)
class _Site:
    """A node that can be replaced, and the smallest statement around it."""

    node: ast.AST
    parent: ast.AST
    field: str
    position: int | None
    statement: ast.stmt
    in_function: bool


Change = tuple[str, ast.AST]
"""Name of an operator, and the node that takes the place of another."""


def mutants_of(path: str, source: str) -> list[Mutant]:
    """Return every mutant of a module.

    Args:
        path: of the module, relative to the repository.
        source: of the module.
    """
    tree = ast.parse(source)
    mutants = []
    for site in _sites(tree):
        for operator, replacement in _changes(site):
            mutated = _replaced(tree, site, replacement)
            mutants.append(
                Mutant(
                    path,
                    _header(site.statement),
                    not site.in_function,
                    operator,
                    _one_line(site.node),
                    _one_line(replacement),
                    mutated,
                )
            )
    return mutants


def _sites(tree: ast.Module) -> list[_Site]:
    """Return every node of a module that may change, each before its children."""
    sites: list[_Site] = []

    def walk(node: ast.AST, statement: ast.stmt | None, in_function: bool) -> None:
        for field, value in ast.iter_fields(node):
            inside = in_function or (
                isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and field == "body"
            )
            children = enumerate(value) if isinstance(value, list) else [(None, value)]
            for position, child in children:
                if isinstance(child, ast.AST) and not _is_left_alone(field, child):
                    nearest = child if isinstance(child, ast.stmt) else statement
                    if nearest is not None:
                        sites.append(_Site(child, node, field, position, nearest, inside))
                    walk(child, nearest, inside)

    walk(tree, None, False)
    return sites


def _is_left_alone(field: str, node: ast.AST) -> bool:
    if field in ("annotation", "returns", "decorator_list", "bases"):
        return True
    if isinstance(node, ast.FunctionDef) and node.name in ("__repr__", "__str__"):
        return True
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return True
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) or _is_left_alone("value", node.value)
    if isinstance(node, ast.Call) and _called(node) in UNMUTATED_CALLS:
        return True
    return isinstance(node, ast.Assert | ast.JoinedStr | ast.Import | ast.ImportFrom)


def _called(call: ast.Call) -> str:
    return ast.unparse(call.func).rpartition(".")[2]


def _changes(site: _Site) -> Iterator[Change]:
    yield from _changes_of_values(site)
    yield from _changes_of_conditions(site.node)
    yield from _changes_of_statements(site.node)


def _changes_of_values(site: _Site) -> Iterator[Change]:
    match site.node:
        case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
            if site.in_function and not _is_text(left) and not _is_text(right):
                yield "arithmetic", ast.BinOp(left, ARITHMETIC[type(op)](), right)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            yield "sign", operand
        case ast.Constant(value=bool() as value):
            yield "truth", ast.Constant(not value)
        case ast.Constant(value=int() as value):
            yield "constant", ast.Constant(value + 1)
            yield "constant", ast.Constant(value - 1)
        case ast.Constant(value=float() as value):
            yield "constant", ast.Constant(value * 2 or 1.0)
            yield "constant", ast.Constant(value / 2 or -1.0)
        case ast.Call(func=function, args=arguments, keywords=keywords):
            name = _called(site.node)
            if name in CALLS:
                yield "call", ast.Call(_renamed(function, CALLS[name]), arguments, keywords)
            elif name in WRAPPERS and len(arguments) == 1:
                yield "call left out", arguments[0]


def _is_text(node: ast.AST) -> bool:
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return is_text or isinstance(node, ast.JoinedStr | ast.List | ast.Tuple)


def _renamed(function: ast.expr, name: str) -> ast.expr:
    if isinstance(function, ast.Attribute):
        return ast.Attribute(function.value, name, function.ctx)
    return ast.Name(name, ast.Load())


def _changes_of_conditions(node: ast.AST) -> Iterator[Change]:
    match node:
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            for position, op in enumerate(ops):
                for other in COMPARISONS[type(op)]:
                    changed = [*ops[:position], other(), *ops[position + 1 :]]
                    yield "comparison", ast.Compare(left, changed, comparators)
        case ast.BoolOp(op=op, values=values):
            yield "logic", ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield "logic", operand
        case ast.comprehension(target=target, iter=iterable, ifs=ifs) if ifs:
            yield "filter", ast.comprehension(target, iterable, [], node.is_async)
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test) if not isinstance(
            test, ast.Compare | ast.UnaryOp | ast.Constant
        ):
            changed_node = copy.copy(node)
            changed_node.test = ast.UnaryOp(ast.Not(), test)
            yield "condition", changed_node


def _changes_of_statements(node: ast.AST) -> Iterator[Change]:
    match node:
        case ast.Return(value=ast.expr() as value) if ast.unparse(value) not in FALSE:
            yield "return None", ast.Return(ast.Constant(None))
        case ast.Raise() | ast.AugAssign() | ast.Expr(value=ast.Call()):
            yield "statement left out", ast.Pass()
        case ast.With(items=items, body=body) if all(item.optional_vars is None for item in items):
            yield "context left out", ast.If(ast.Constant(True), body, [])


def _replaced(tree: ast.Module, site: _Site, new: ast.AST) -> str:
    """Return the source of a tree with another node at a site; the tree stays as it is."""
    _put(site, ast.fix_missing_locations(new))
    try:
        return ast.unparse(tree)
    finally:
        _put(site, site.node)


def _put(site: _Site, node: ast.AST) -> None:
    if site.position is None:
        setattr(site.parent, site.field, node)
    else:
        getattr(site.parent, site.field)[site.position] = node


def _header(statement: ast.stmt) -> tuple[int, int]:
    """Return the lines of a statement without those of its body."""
    end = statement.end_lineno or statement.lineno
    body = getattr(statement, "body", None)
    if body:
        end = max(statement.lineno, body[0].lineno - 1)
    return statement.lineno, end


def _one_line(node: ast.AST) -> str:
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        return f"if {ast.unparse(node.test)}"
    if isinstance(node, ast.With):
        return ast.unparse(node).splitlines()[0]
    if isinstance(node, ast.comprehension):
        return ast.unparse(node).strip()
    return " ".join(ast.unparse(node).split())
