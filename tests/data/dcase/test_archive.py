"""Archives that are damaged or made to do harm: refused in one line, and nothing is left."""

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from raysearch.data.dcase.archive import install
from raysearch.errors import DataError, UserError


def packed(size: int = 1000) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("fan/a.wav", bytes(size))
    return content.getvalue()


def patched(offset: int, value: int) -> bytes:
    """Return an archive with another number in both headers of its member."""
    content = bytearray(packed())
    central = content.index(b"PK\x01\x02")
    for start in (offset, central + offset + 2):
        struct.pack_into("<H", content, start, value)
    return bytes(content)


def spoiled() -> bytes:
    content = bytearray(packed())
    start = content.index(b"a.wav") + 5
    content[start : start + 4] = b"\xff" * 4
    return bytes(content)


HARMFUL: dict[str, Callable[[], bytes]] = {
    "encrypted": lambda: patched(6, 1),
    "of an unknown method": lambda: patched(8, 77),
    "with spoiled data": spoiled,
    "cut": lambda: packed()[:60],
    "empty": lambda: b"",
    "text": lambda: b"no zip",
}


@pytest.mark.parametrize("kind", HARMFUL)
def test_a_harmful_archive_is_refused_and_leaves_nothing(tmp_path: Path, kind: str) -> None:
    archive, root = tmp_path / "fan.zip", tmp_path / "data"
    archive.write_bytes(HARMFUL[kind]())
    root.mkdir()

    def keep(path: PurePosixPath) -> str:
        return f"train/{path.name}"

    with pytest.raises((DataError, UserError)) as caught:
        install(archive, "fan.zip", root, tmp_path / "staging", keep)
    assert "\n" not in str(caught.value)
    assert list(root.iterdir()) == []
    assert not (tmp_path / "staging").exists()
