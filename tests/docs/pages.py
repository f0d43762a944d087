"""Code blocks, tables and spans of README, CONTRIBUTING and the pages of docs/.

Comments before a code block are directives for the tests:

    <!-- test: skip: REASON -->     the block cannot run here; its commands are still parsed
    <!-- test: with: FLAGS -->      its last command gets these flags, too
    <!-- test: served -->           its last command serves until it is interrupted
    <!-- test: first: COMMANDS -->  commands that run before it
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PAGES = [*sorted(REPOSITORY.glob("[CR][OE]*.md")), *sorted((REPOSITORY / "docs").glob("*.md"))]
RUN = ("bash", "console", "python")

_DIRECTIVE = re.compile(r"<!-- test: (skip|with|served|first)(?:: (.+))? -->")
_SPAN = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced code block.

    Attributes:
        position: page and line, for messages.
        language: of the fence.
        text: between the fences.
        directives: of the comments before the block, by kind.
    """

    position: str
    language: str
    text: str
    directives: Mapping[str, str]

    @property
    def skipped(self) -> str:
        """Reason why the block cannot run; empty if it can."""
        return self.directives.get("skip", "")

    @property
    def script(self) -> str:
        """Shell script of the block."""
        first = self.directives.get("first", "")
        if self.language == "python":
            return f"{first}\npython -W error - <<'PYTHON'\n{self.text}\nPYTHON\n"
        text = self.text.strip()
        if self.language == "console":
            lines = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
            text = "\n".join(lines)
        text += f" {self.directives['with']}" if "with" in self.directives else ""
        if "served" in self.directives:
            # The command must still run after 10 s, and end when it is interrupted.
            text = f"code=0; timeout --signal=INT --kill-after=60 10 {text} || code=$?\n"
            text += "test $code = 124"
        return f"{first}\n{text}\n"


def blocks(page: Path) -> list[Block]:
    """List the fenced code blocks of a page."""
    result, directives = [], dict[str, str]()
    lines = page.read_text("utf-8").splitlines()
    number = 0
    while number < len(lines):
        line = lines[number]
        if match := _DIRECTIVE.fullmatch(line.strip()):
            directives[match[1]] = match[2] or ""
        elif line.startswith("```"):
            end = lines.index("```", number + 1)
            position = f"{page.relative_to(REPOSITORY)}:{number + 1}"
            text = "\n".join(lines[number + 1 : end])
            result.append(Block(position, line[3:].strip(), text, directives))
            directives, number = {}, end
        number += 1
    assert not directives, f"{page.name}: {directives} stands before no code block"
    return result


def prose(page: Path) -> str:
    """Return a page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def spans(text: str) -> list[str]:
    """List the texts between backticks, each on one line."""
    return [" ".join(match[2].split()) for match in _SPAN.finditer(text)]


def section(page: Path, heading: str) -> str:
    """Return the text under a heading, up to the next heading of the same or a higher rank."""
    rank = heading.partition(" ")[0]
    text = page.read_text("utf-8").partition(f"\n{heading}\n")[2]
    assert text, f"{page.name} has no {heading}"
    return re.split(rf"^#{{1,{len(rank)}}} ", text, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[dict[str, str]]:
    """List the rows of all tables of a text: header -> cell."""
    result: list[dict[str, str]] = []
    headers: list[str] = []
    for line in text.splitlines():
        if not line.startswith("|"):
            headers = []
        elif not headers:
            headers = _cells(line)
        elif set(line) - set("|-: "):
            result.append(dict(zip(headers, _cells(line), strict=True)))
    return result


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def commands(block: Block) -> Iterator[list[str]]:
    """Yield the commands of a shell block, each as its arguments."""
    script = re.sub(r"<<'?(\w+)'?\n.*?^\1$", "", block.text, flags=re.DOTALL | re.MULTILINE)
    script = script.replace("\\\n", " ")
    for line in script.splitlines():
        lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        arguments: list[str] = []
        for word in lexer:
            if set(word) <= set("();<>|&"):
                if word in (">", "<", ">>"):
                    next(lexer, None)
                    continue
                yield from [arguments] if arguments else []
                arguments = []
            else:
                arguments.append(word)
        yield from [arguments] if arguments else []
