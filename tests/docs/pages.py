"""README, CONTRIBUTING and the pages of docs/, as tests read them: code blocks, tables, spans.

A page tells the tests what its reader need not see, in comments before a code block:

    <!-- test: skip: REASON -->     the block cannot run here; its commands are parsed all the same
    <!-- test: with: FLAGS -->      its last command gets these flags as well
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
        place: page and line, for messages.
        language: as its fence says.
        text: between the fences.
        said: what comments before it tell the tests.
    """

    place: str
    language: str
    text: str
    said: Mapping[str, str]

    @property
    def skipped(self) -> str:
        """Why it cannot run; empty if it can."""
        return self.said.get("skip", "")

    @property
    def script(self) -> str:
        """What bash runs of it."""
        first = self.said.get("first", "")
        if self.language == "python":
            return f"{first}\npython -W error - <<'PYTHON'\n{self.text}\nPYTHON\n"
        text = self.text.strip()
        if self.language == "console":
            lines = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
            text = "\n".join(lines)
        text += f" {self.said['with']}" if "with" in self.said else ""
        if "served" in self.said:
            # It must be at work when its time is over, and end when it is interrupted.
            text = f"code=0; timeout --signal=INT --kill-after=60 10 {text} || code=$?\n"
            text += "test $code = 124"
        return f"{first}\n{text}\n"


def blocks(page: Path) -> list[Block]:
    """The fenced code blocks of a page, in order."""
    found, said, lines = [], dict[str, str](), page.read_text("utf-8").splitlines()
    number = 0
    while number < len(lines):
        line = lines[number]
        if match := _DIRECTIVE.fullmatch(line.strip()):
            said[match[1]] = match[2] or ""
        elif line.startswith("```"):
            end = lines.index("```", number + 1)
            place = f"{page.relative_to(REPOSITORY)}:{number + 1}"
            text = "\n".join(lines[number + 1 : end])
            found.append(Block(place, line[3:].strip(), text, said))
            said, number = {}, end
        number += 1
    assert not said, f"{page.name}: {said} stands before no code block"
    return found


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def spans(text: str) -> list[str]:
    """What stands between backticks, on one line."""
    return [" ".join(match[2].split()) for match in _SPAN.finditer(text)]


def section(page: Path, heading: str) -> str:
    """What stands under a heading, up to the next of its rank or a higher one."""
    rank = heading.partition(" ")[0]
    text = page.read_text("utf-8").partition(f"\n{heading}\n")[2]
    assert text, f"{page.name} has no {heading}"
    return re.split(rf"^#{{1,{len(rank)}}} ", text, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[dict[str, str]]:
    """The rows of all tables of a text, each by the headers of its table."""
    found: list[dict[str, str]] = []
    headers: list[str] = []
    for line in text.splitlines():
        if not line.startswith("|"):
            headers = []
        elif not headers:
            headers = _cells(line)
        elif set(line) - set("|-: "):
            found.append(dict(zip(headers, _cells(line), strict=True)))
    return found


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def commands(block: Block) -> Iterator[list[str]]:
    """The commands of a shell block, a list of words each."""
    script = re.sub(r"<<'?(\w+)'?\n.*?^\1$", "", block.text, flags=re.DOTALL | re.MULTILINE)
    script = script.replace("\\\n", " ")
    for line in script.splitlines():
        lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in lexer:
            if set(word) <= set("();<>|&"):
                if word in (">", "<", ">>"):
                    next(lexer, None)
                    continue
                yield from [words] if words else []
                words = []
            else:
                words.append(word)
        yield from [words] if words else []
