"""The house style of docstrings and names, kept by reading the code."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.source import Module, read

FOLDERS = ("raysearch", "analysis", "examples")

VERB_LIST = """
Accept Add Announce Append Apply Ask Assert Build Call Change Check Choose Clean Clear Close Collect
Combine Compare Compute Connect Convert Copy Count Create Cut Decide Decode Delete Describe Divide
Download Draw Drop Embed End Enter Estimate Evaluate Examine Execute Export Extract Fetch Fill
Filter Find Finish Fit Follow Format Forward Free Freeze Gather Generate Group Hash Hold Ignore
Import Index Initialise Insert Install Interrupt Iterate Join Keep Kill Leave Let Limit List Listen
Load Lock Log Make Mark Measure Merge Mix Move Name Normalise Note Open Parse Pause Pick Plan Plot
Prepare Print Project Propose Prune Publish Put Query Raise Rank Read Rebuild Receive Record Redact
Reduce Refuse Release Remove Rename Render Repeat Replace Replay Report Request Require Resample
Reset Resolve Restore Restrict Resume Return Run Sample Save Scale Schedule Score Search Select Send
Serve Set Show Skip Sort Split Stack Start Stop Store Suggest Sum Summarise Synthesise Take Test
Time Train Transform Translate Try Turn Unpack Update Use Validate Wait Warn Watch Wrap Write Yield
"""
VERBS = frozenset(VERB_LIST.split())
"""Verbs that open the docstring of a function; another one is added here."""

NOUN_LIST = """
Call Change Check Count Cut End Export Import Index Limit List Lock Log Mark Measure Name Note Pause
Plan Plot Query Rank Record Release Report Request Sample Scale Schedule Score Search Set Sort Split
Start Step Stop Store Sum Test Time Train
"""
NOUNS = frozenset(NOUN_LIST.split())
"""Verbs that are nouns as well, and may open the docstring of a class or a property."""

HEADLESS = {"How", "Of", "That", "What", "Where", "Whether", "Which", "Who", "Whose", "Why"}
"""Words that open a clause without a noun."""

PRONOUNS = {"Anything", "Each", "Everything", "It", "Its", "Nothing", "One", "Some", "They", "This"}

BANNED_LIST = """
agenda asked found held it look mine one ours own place reach told whose who won words
"""
BANNED = frozenset(BANNED_LIST.split())
"""Identifiers that stand for things that have a name."""


Documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def is_property(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    marks = {ast.unparse(mark).rpartition(".")[2] for mark in function.decorator_list}
    return bool(marks & {"property", "cached_property"})


def third_person(word: str) -> bool:
    """Return True for a verb such as Shows, Passes or Copies."""
    stems = {word.removesuffix("s"), word.removesuffix("es"), re.sub("ies$", "y", word)}
    return word.endswith("s") and bool(stems & (VERBS - NOUNS))


def docstrings(module: Module) -> Iterator[tuple[Documented, str]]:
    """Yield the functions and classes of a module that have a docstring, and the docstrings."""
    for node in module.nodes:
        if isinstance(node, Documented):
            text = ast.get_docstring(node)
            if text:
                yield node, text


def fault(module: Module, node: Documented, text: str) -> str:
    return f"{module.path}:{node.lineno} {node.name}: {text.splitlines()[0]}"


def docstring_faults(module: Module) -> list[str]:
    """List the docstrings that open with neither a verb (functions) nor a noun (classes)."""
    faults = []
    for node, text in docstrings(module):
        first = text.split()[0].strip(".,:;")
        is_noun = isinstance(node, ast.ClassDef) or is_property(node)
        wrong = first in HEADLESS | PRONOUNS or third_person(first)
        if wrong or (first in VERBS - NOUNS if is_noun else first not in VERBS):
            faults.append(fault(module, node, text))
    return faults


def headless_faults(module: Module) -> list[str]:
    """List the docstrings that open with a clause without a noun."""
    return [
        fault(module, node, text)
        for node, text in docstrings(module)
        if text.split()[0].strip(".,:;") in HEADLESS
    ]


def names(module: Module) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of all that a module defines."""
    for node in module.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


def name_faults(module: Module) -> list[str]:
    return [
        f"{module.path}:{line} {name}"
        for line, name in names(module)
        if name.strip("_").lower() in BANNED
    ]


def test_docstrings_open_with_a_verb_or_a_noun() -> None:
    assert [line for module in read(*FOLDERS) for line in docstring_faults(module)] == []


def test_docstrings_of_tests_open_with_no_headless_clause() -> None:
    assert [line for module in read("tests") for line in headless_faults(module)] == []


def test_things_have_their_names() -> None:
    assert [line for module in read(*FOLDERS, "tests") for line in name_faults(module)] == []


@pytest.mark.parametrize(
    "source",
    [
        'def f():\n    """Whether a trial ended."""',
        'def f():\n    """The best trials."""',
        'def f():\n    """Returns the best trials."""',
        'def f():\n    """Embeddings (N, D) of clips."""',
        'class C:\n    """What a trial holds."""',
        'class C:\n    """Shows a search."""',
        'class C:\n    """Show a search."""',
        'class C:\n    @property\n    def f(self):\n        """How many there are."""',
    ],
)
def test_a_docstring_in_another_style_is_seen(source: str) -> None:
    assert len(docstring_faults(Module("raysearch/training/train.py", source))) == 1


@pytest.mark.parametrize(
    "source",
    [
        'def f():\n    """Return the best trials."""',
        'class C:\n    """A study on disk."""',
        'class C:\n    @property\n    def f(self):\n        """Number of trials."""',
    ],
)
def test_a_docstring_of_the_house_passes(source: str) -> None:
    assert docstring_faults(Module("raysearch/training/train.py", source)) == []


@pytest.mark.parametrize(
    "source",
    [
        'def f():\n    """Whether a trial ended."""',
        'async def f():\n    """How: by hand."""',
        'class C:\n    """What a trial holds."""',
        'class C:\n    @property\n    def f(self):\n        """Where its files lie."""',
    ],
)
def test_a_headless_docstring_is_seen(source: str) -> None:
    assert len(headless_faults(Module("tests/command.py", source))) == 1


@pytest.mark.parametrize(
    "source", ["found = 1", "def f(one): ...", "self.told = []", "class _Own: ..."]
)
def test_a_banned_name_is_seen(source: str) -> None:
    assert len(name_faults(Module("raysearch/training/train.py", source))) == 1
