"""YAML of space files: no key twice, product IDs as they are written."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from raysearch.errors import UserError, printable
from raysearch.study.space_files import load_space
from raysearch.study.strict_yaml import check_keys, read_yaml

SPACE = "search: {lr: 1.0e-3, batch_size: 32, lambda: 1, inlier: {gmm: [1]}}\n"


@pytest.mark.parametrize(("plain", "is_refused"), [(896, False), (897, True)])
def test_aliases_count_with_all_that_they_stand_for(plain: int, is_refused: bool) -> None:
    # A mapping, two keys, a list of 990 and 99 times again, and the list of them with plain values.
    ones, aliases = ", ".join(["1"] * 990), ", ".join(["*a"] * 99 + ["1"] * plain)
    text = f"a: &a [{ones}]\nb: [{aliases}]\n"
    if is_refused:
        with pytest.raises(UserError, match=r"x\.yaml: its aliases stand for more than 100000"):
            read_yaml(text, "x.yaml")
    else:
        assert len(read_yaml(text, "x.yaml")["b"]) == 99 + plain


def load_ids(folder: Path, ids: str) -> tuple[str, ...]:
    path = folder / "press.yaml"
    path.write_text(f"validation_ids: {ids}\ntest_ids: []\n{SPACE}")
    return load_space(path).validation_ids


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ("[010, 011]", ("10", "11")),  # 8 and 9 by the rules of YAML
        ("[00, 07, 08, 10]", ("0", "7", "8", "10")),
        ("\n- 012\n- A7", ("12", "A7")),
        ("[1_0, 1:30, 0x1F, 0b1]", ("1_0", "1:30", "0x1F", "0b1")),
        ("['010', \"no\", '1.50', '2024-05-01']", ("10", "no", "1.50", "2024-05-01")),
        ("[-1, 12345]", ("-1", "12345")),
    ],
)
def test_an_id_is_read_as_it_is_written(
    tmp_path: Path, ids: str, expected: tuple[str, ...]
) -> None:
    assert load_ids(tmp_path, ids) == expected


@given(st.integers(0, 10**6), st.integers(0, 8))
def test_leading_zeros_change_no_id(number: int, zeros: int) -> None:
    (text,) = read_yaml(f"test_ids: [{'0' * zeros}{number}]", "x")["test_ids"]
    assert int(text) == number


@pytest.mark.parametrize(
    ("ids", "problem"),
    [
        ("[no]", 'validation_ids: YAML takes the ID no for true or false; quote it: "no"'),
        ("[A, On]", "takes the ID On for true or false"),
        ("[1.50]", "takes the ID 1.50 for a number"),
        ("[2024-05-01]", "takes the ID 2024-05-01 for a date"),
        ("[~]", "takes the ID ~ for nothing"),
    ],
)
def test_an_id_that_is_no_text_is_to_be_quoted(tmp_path: Path, ids: str, problem: str) -> None:
    with pytest.raises(UserError) as caught:
        load_ids(tmp_path, ids)
    assert str(caught.value).startswith(f"{tmp_path / 'press.yaml'}: validation_ids: ")
    assert problem in str(caught.value)


def test_leading_zeros_change_no_number(tmp_path: Path) -> None:
    path = tmp_path / "press.yaml"
    path.write_text(f"{SPACE}fixed: {{rate: 016000, epochs: 0100}}\nstrategy: {{trials: 010}}\n")
    space = load_space(path)
    assert (space.fixed.rate, space.fixed.epochs, space.strategy.trials) == (16000, 100, 10)


@pytest.mark.parametrize(
    ("text", "line", "key", "first"),
    [
        ("test_ids: [1]\nsearch: {}\ntest_ids: [2]\n", 3, "test_ids", 1),
        ("search:\n  lr: 1\n  inlier:\n    gmm: [1]\n    gmm: [2]\n", 5, "gmm", 4),
        ("a: [1, {b: 1, b: 1}]\n", 1, "b", 1),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_its_lines(
    text: str, line: int, key: str, first: int
) -> None:
    problem = f"x.yaml:{line}: {key}: the key stands in line {first} already; keep one of both"
    for read in (read_yaml, check_keys):
        with pytest.raises(UserError) as caught:
            read(text, "x.yaml")
        assert str(caught.value) == problem


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)
DIGITS = "1" * 5000
FOREIGN: dict[str, bytes] = {
    "a list nested deeply": b"[" * 5_000,
    "a mapping nested deeply": b"{a: " * 5_000,
    "a number of 5,000 digits": f"{SPACE}strategy: {{seed: {DIGITS}}}\n".encode(),
    "a float of 5,000 digits": SPACE.replace("1.0e-3", DIGITS).encode(),
    "aliases of aliases": f"{BOMB}search: {{lr: *a11}}\n".encode(),
    "100 MB": b"#" + b"x" * 100_000_000,
    "a tag of Python": b"search: !!python/object/apply:os.system ['touch executed']\n",
    "a tag of a name": b"search: !!python/name:os.system\n",
    "a tag that is unknown": b"search: !something {}\n",
    "Latin-1": b"search: {lr: \xe4}\n",
    "UTF-16": SPACE.encode("utf-16"),
    "NUL": b"\0" * 100,
    "all bytes": bytes(range(256)),
    "nothing": b"",
    "a list": b"- 1\n",
    "a text": b"search\n",
    "two documents": f"{SPACE}---\n{SPACE}".encode(),
    "a list as key": b"? [a, b]\n: 1\n",
    "a mapping as key": b"{{a: 1}: 2}\n",
    "an anchor in itself": b"search: &x {lr: *x}\n",
    "a merge of a number": f"<<: 5\n{SPACE}".encode(),
    "no date": b"x: 2024-99-99\n",
    "no number": b"x: !!int abc\n",
    "no float": b"x: !!float abc\n",
    "no time": b"x: !!timestamp abc\n",
    "no base 64": b"x: !!binary abc\n",
    "infinity": SPACE.replace("1.0e-3", ".inf").encode(),
    "NaN": SPACE.replace("1.0e-3", ".nan").encode(),
    "a control character": f"{SPACE}\x1b[31m: 1\n".encode(),
    "a key that colours a terminal": f'{SPACE}"\\e[31m": 1\n'.encode(),
    "a value that colours a terminal": f'{SPACE}test_ids: ["\\e[31m", "\\e[31m"]\n'.encode(),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_no_space_file_is_one_line(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "press.yaml"
    path.write_bytes(FOREIGN[kind])
    with pytest.raises(UserError) as caught:
        load_space(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert printable(message).isprintable()
    assert len(message) < 1000
    assert [entry.name for entry in tmp_path.iterdir()] == ["press.yaml"]


def test_a_file_as_long_as_allowed_is_read(tmp_path: Path) -> None:
    path = tmp_path / "press.yaml"
    path.write_text(SPACE + "#" * 900_000)
    assert load_space(path).strategy.trials > 0


@pytest.mark.parametrize(
    "text", ["", "- 1", "a: 1", "x: &x {a: 1}\ny: {<<: *x, a: 2}", "x: &x [*x]", "a: {b: 1}\nb: 2"]
)
def test_other_yaml_is_read_as_ever(text: str) -> None:
    assert repr(read_yaml(text, "x")) == repr(yaml.safe_load(text))
    check_keys(text, "x")
