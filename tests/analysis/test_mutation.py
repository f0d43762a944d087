"""mutation.py: the faults that it makes, the draw, and their fates in a small repository."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from mutation import FEWEST, Score, room_mutants, sample, scores, write
from mutation_parts.baseline import LONGEST, Baseline
from mutation_parts.execution import Outcome
from mutation_parts.operators import Mutant, mutants_of

PATH = "raysearch/study/ledger.py"


def changes(source: str) -> set[tuple[str, str]]:
    return {(mutant.before, mutant.after) for mutant in mutants_of(PATH, source)}


def in_function(line: str) -> str:
    return f"def f(x, y):\n    {line}"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("x < y", {("x < y", "x <= y"), ("x < y", "x >= y")}),
        ("x == y", {("x == y", "x != y")}),
        ("x - y", {("x - y", "x + y")}),
        ("-x", {("-x", "x")}),
        ("x[0]", {("0", "1"), ("0", "-1")}),
        ("x * 0.5", {("x * 0.5", "x / 0.5"), ("0.5", "1.0"), ("0.5", "0.25")}),
        ("x and y", {("x and y", "x or y")}),
        ("not x", {("not x", "x")}),
        ("min(x, y)", {("min(x, y)", "max(x, y)")}),
        ("np.argmin(x)", {("np.argmin(x)", "np.argmax(x)")}),
        ("abs(x)", {("abs(x)", "x")}),
        ("f(x, key=True)", {("True", "False")}),
        ("[a for a in x if a]", {("for a in x if a", "for a in x")}),
        ("x if y else 1.0", {("if y", "if not y"), ("1.0", "2.0"), ("1.0", "0.5")}),
    ],
)
def test_faults_of_an_expression(line: str, expected: set[tuple[str, str]]) -> None:
    assert changes(in_function(f"z = {line}")) == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("return x", {("return x", "return None")}),
        ("raise KeyError(x)", {("raise KeyError(x)", "pass")}),
        ("x.clear()", {("x.clear()", "pass")}),
        ("x += y", {("x += y", "pass")}),
        ("with x: y()", {("with x:", "if True"), ("y()", "pass")}),
    ],
)
def test_faults_of_a_statement(lines: str, expected: set[tuple[str, str]]) -> None:
    assert changes(in_function(lines)) == expected


@pytest.mark.parametrize(
    "source",
    [
        '"""Text."""',
        in_function("logger.info('%d clips', 3)"),
        in_function("z = f'{x + 1}'"),
        in_function("assert x > 0"),
        in_function("z: Literal[1] = x"),
        in_function("return None"),
        in_function("os.kill(x, 0)"),
        "class C:\n    def __repr__(self):\n        return 'x' + self.x",
        "if TYPE_CHECKING:\n    X = 1",
    ],
)
def test_messages_annotations_and_signals_are_left_alone(source: str) -> None:
    assert mutants_of(PATH, source) == []


def test_a_mutant_differs_from_its_module_by_the_fault_alone() -> None:
    source = 'X = 3\n\ndef f(x):\n    """Return x."""\n    return [a + 1 for a in x if a > X]\n'
    whole = ast.unparse(ast.parse(source))
    mutants = mutants_of(PATH, source)
    assert len({mutant.source for mutant in mutants}) == len(mutants)
    for mutant in mutants:
        assert mutant.source.count("\n") == whole.count("\n")
        pairs = zip(whole.splitlines(), mutant.source.splitlines(), strict=True)
        assert sum(before != after for before, after in pairs) == 1


def test_a_mutant_knows_its_statement() -> None:
    source = "X = 3\ndef f(x):\n    if (x and\n        x > 1):\n        return x\n"
    statements = {(m.before, m.lines, m.at_import) for m in mutants_of(PATH, source)}
    assert statements == {
        ("3", (1, 1), True),
        ("if x and x > 1", (3, 4), False),
        ("x and x > 1", (3, 4), False),
        ("x > 1", (3, 4), False),
        ("1", (3, 4), False),
        ("return x", (5, 5), False),
    }


def test_the_draw_is_that_of_the_seed_and_leaves_no_module_out() -> None:
    rooms = room_mutants("scoring")
    drawn = sample(rooms, 60, 0)
    assert drawn == sample(rooms, 60, 0) != sample(rooms, 60, 1)
    assert 60 <= len(drawn) < 60 + FEWEST * len(rooms)
    for path, choice in rooms.items():
        assert sum(mutant.path == path for mutant in drawn) >= min(FEWEST, len(choice))
    assert len(sample(rooms, 0, 0)) == sum(map(len, rooms.values()))


def test_a_mutant_meets_the_tests_of_its_lines_and_its_own_module_first() -> None:
    home, near, far = "tests/study/test_ledger.py::a", "tests/x.py::b", "tests/x.py::c"
    lines = {"3": [far, near], "4": [home], "9": ["tests/x.py::d"]}
    seconds = {home: LONGEST, near: 1.0, far: 2.0, "tests/x.py::d": 0.0}
    baseline = Baseline(seconds, {PATH: lines})
    mutant = Mutant(PATH, (3, 4), False, "constant", "1", "2", "")
    assert baseline.tests_of(mutant) == [home]
    quick = Baseline({**seconds, home: 3.0}, {PATH: lines})
    assert quick.tests_of(mutant) == [home, near, far]
    # Coverage sees no line of a process that a test has started.
    assert quick.tests_of(Mutant(PATH, (7, 8), False, "constant", "1", "2", "")) == [home]
    elsewhere = Mutant("raysearch/study/x.py", (3, 4), False, "constant", "1", "2", "")
    assert quick.tests_of(elsewhere) == []
    at_import = Mutant(PATH, (1, 1), True, "constant", "1", "2", "")
    assert quick.tests_of(at_import) == [home, "tests/x.py::d", near, far]


def test_scores_count_modules_and_their_room(tmp_path: Path) -> None:
    other = "raysearch/study/locking.py"
    fates = [("killed", PATH), ("timeout", PATH), ("survived", PATH), ("no test", other)]
    outcomes = [
        Outcome(Mutant(path, (1, 1), False, "constant", "1", "2", ""), fate, "")
        for fate, path in fates
    ]
    assert scores(outcomes) == [
        Score("study/", 4, 2, 2),
        Score("study/ledger.py", 3, 2, 1),
        Score("study/locking.py", 1, 0, 1),
    ]
    assert scores(outcomes)[0].share == 50
    write(outcomes, tmp_path)
    assert len((tmp_path / "mutation.csv").read_text().splitlines()) == 5
    assert len((tmp_path / "survivors.txt").read_text().splitlines()) == 2


PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from mutation_parts.baseline import measure
from mutation_parts.execution import run_all
from mutation_parts.operators import mutants_of
root = Path(sys.argv[2])
baseline = measure(root, ["tests"])
mutants = mutants_of("raysearch/x.py", (root / "raysearch/x.py").read_text())
for outcome in run_all(root, mutants, baseline, 2):
    print("fate", outcome.fate, "|", outcome.mutant.before, "->", outcome.mutant.after)
"""


@pytest.mark.slow  # A run of pytest for each mutant.
def test_mutants_of_a_small_repository_meet_their_fates(tmp_path: Path) -> None:
    files = {
        "pyproject.toml": '[tool.pytest.ini_options]\nmarkers = ["slow"]\n',
        "raysearch/__init__.py": "",
        "raysearch/x.py": (
            "def bigger(x, y):\n    return x > y\n\n\ndef untested(x):\n    return -x\n"
        ),
        "tests/test_x.py": (
            "from raysearch.x import bigger\n\n\ndef test_bigger():\n"
            "    assert bigger(2, 1)\n    assert not bigger(1, 2)\n"
        ),
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    analysis = Path(__file__).parents[2] / "analysis"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, analysis, tmp_path], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    fates = [line for line in done.stdout.splitlines() if line.startswith("fate")]
    assert fates == [
        "fate killed | return x > y -> return None",
        "fate survived | x > y -> x >= y",
        "fate killed | x > y -> x <= y",
        "fate survived | return -x -> return None",
        "fate survived | -x -> x",
    ]
    assert (tmp_path / "raysearch/x.py").read_text() == files["raysearch/x.py"]
