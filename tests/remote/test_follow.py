from hypothesis import given
from hypothesis import strategies as st

from raysearch.remote.follow import Log

texts = st.text(alphabet="ab\n\r é\u2028", max_size=60)


@given(text=texts, data=st.data())
def test_each_line_is_shown_once_whatever_breaks(text: str, data: st.DataObject) -> None:
    shown: list[str] = []
    log = Log(shown.append)
    for _ in range(data.draw(st.integers(0, 4))):
        # A connection that breaks somewhere, on a log that was shorter then.
        log.rewind()
        at = 0
        for end in sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5))):
            log.read(text[at:end])
            at = end
    log.rewind()
    log.read(text)
    log.end()
    lines = text.split("\n")
    assert shown == (lines if lines[-1] else lines[:-1])


@given(text=texts, last=st.integers(0, 5), more=texts)
def test_of_what_is_there_the_last_lines_are_shown(text: str, last: int, more: str) -> None:
    shown: list[str] = []
    log = Log(shown.append)
    log.skip(text, last)
    log.rewind()
    log.read(text + more)
    log.end()
    there = text.split("\n")[:-1]
    lines = (text + more).split("\n")[max(0, len(there) - last) :]
    assert shown == (lines if lines[-1] else lines[:-1])
