"""Commands, file names and links in README and docs/."""

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import typer

from raysearch.cli.main import app
from tests.docs.pages import PAGES, REPOSITORY, RUN, Block, blocks, commands, prose

BASE = typer.BadParameter.__base__
assert BASE is not None
assert issubclass(BASE, Exception)
UsageError = BASE

SHELL = [block for page in PAGES for block in blocks(page) if block.language in ("bash", "console")]
SKIPPED = Counter(block.position.partition(":")[0] for block in SHELL if block.skipped)
ALLOWED = {"README.md": 3, "docs/cluster.md": 7, "docs/dataset.md": 2, "docs/results.md": 3}
"""Blocks of a page that may be skipped, and 1 of any other page; each says why."""


def parse(arguments: list[str]) -> None:
    """Parse a raysearch command as Typer does, without running it."""
    command, rest, context = typer.main.get_command(app), arguments[1:], None
    while hasattr(command, "get_command") and rest and not rest[0].startswith("-"):
        name, *rest = rest
        context = command.make_context(name, [name], parent=context)
        subcommand = command.get_command(context, name)
        assert subcommand is not None, f"raysearch has no command {name}"
        command = subcommand
    command.make_context("raysearch", list(rest), parent=context)


@pytest.mark.parametrize("block", SHELL, ids=lambda block: block.position)
def test_every_command_exists(block: Block) -> None:
    from ray.scripts.scripts import cli as ray_cli  # It imports all of Ray's libraries.

    for arguments in commands(block):
        if arguments[0] == "raysearch" and not any("completion" in word for word in arguments):
            parse(arguments)
        elif arguments[0] == "ray":
            assert arguments[1] in ray_cli.commands
        elif arguments[0] == "make":
            for target in arguments[1:]:
                assert re.search(rf"^{target}:", (REPOSITORY / "Makefile").read_text(), re.M)


@pytest.mark.parametrize(
    "arguments",
    [["raysearch", "rum"], ["raysearch", "run", "--machin", "fan"], ["raysearch", "run"]],
)
def test_a_command_that_does_not_exist_is_seen(arguments: list[str]) -> None:
    with pytest.raises((AssertionError, UsageError)):
        parse(arguments)


def test_blocks_that_do_not_run_say_why_and_are_few() -> None:
    assert all(len(block.skipped.split()) > 2 for block in SHELL if block.skipped)
    assert {page: n for page, n in SKIPPED.items() if n > ALLOWED.get(page, 1)} == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_command_stands_in_a_block_that_runs(page: Path) -> None:
    languages = {"json", *RUN, "text", "yaml"}
    assert {block.language for block in blocks(page)} <= languages
    loose = re.findall(r"^(?: {4}|\t)(?:raysearch|make|ray|pip) .*$", prose(page), re.MULTILINE)
    assert loose == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    text = re.sub(r"<!--.*?-->", "", page.read_text("utf-8"))
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_pages_are_all_in_the_navigation_and_begin_with_what_they_are_for() -> None:
    navigation = (REPOSITORY / "mkdocs.yml").read_text()
    for page in PAGES:
        if page.parent != REPOSITORY:
            assert page.name in navigation
            paragraph = page.read_text("utf-8").split("\n\n")[1]
            assert paragraph.startswith("After this page "), page.name


def file_tree(page: Path) -> list[str]:
    """List the lines of the tree of raysearch/ in a page."""
    tree = page.read_text("utf-8").partition("\nraysearch/\n")[2]
    return tree.partition("\n```")[0].splitlines()


def test_the_readme_names_every_room_and_loose_module() -> None:
    lines = [line for line in file_tree(REPOSITORY / "README.md") if line.startswith("  ")]
    purposes = {
        name: purpose.strip() for name, _, purpose in (x.strip().partition(" ") for x in lines)
    }
    package = REPOSITORY / "raysearch"
    rooms = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    loose = {path.name for path in package.glob("[!_]*.py")}
    assert set(purposes) == rooms | loose
    assert (len(rooms), len(loose)) == (12, 4)
    assert all(purposes.values())


def test_the_file_tree_names_every_module_with_one_line() -> None:
    purposes, folders = {}, {2: ""}
    for line in file_tree(REPOSITORY / "docs" / "architecture.md"):
        indent = len(line) - len(line.lstrip())
        name, _, purpose = line.strip().partition(" ")
        if indent == 0:
            break
        if name.endswith("/"):
            folders[indent + 2] = folders[indent] + name
        elif name.endswith(".py"):
            purposes[folders[indent] + name] = purpose.strip()
    package = REPOSITORY / "raysearch"
    modules = {path.relative_to(package).as_posix() for path in package.rglob("*.py")}
    assert set(purposes) == {name for name in modules if not name.endswith("__init__.py")}
    assert [name for name, purpose in purposes.items() if not purpose] == []


def test_make_help_lists_what_contributing_names() -> None:
    output = subprocess.run(
        ["make", "help"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    targets = set(re.findall(r"^make ([a-z-]+)", output, re.MULTILINE))
    page = (REPOSITORY / "CONTRIBUTING.md").read_text("utf-8")
    named = set(re.findall(r"`make ([a-z-]+)`", page))
    assert named <= targets
    assert {"check", "test", "test-fast", "format", "docs"} <= named
