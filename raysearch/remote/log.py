"""A log that is read from its beginning again and again, and shown once."""

from collections.abc import Callable


class Log:
    """Shows each line of a growing log once, in whatever pieces and however often it is read."""

    def __init__(self, show: Callable[[str], None]) -> None:
        """Begins with an empty log; `show` takes a line without its end."""
        self.show = show
        self.seen = 0
        self._at = 0
        self._line = ""

    def from_its_beginning(self) -> None:
        """What is read next is the log's beginning."""
        self._at = 0

    def read(self, piece: str) -> None:
        """Takes the next piece of the log, of which some may have been seen."""
        new = piece[max(0, self.seen - self._at) :]
        self._at += len(piece)
        self.seen = max(self.seen, self._at)
        *lines, self._line = (self._line + new).split("\n")
        for line in lines:
            self.show(line)

    def skip(self, text: str, last: int) -> None:
        """Leaves out what a log holds so far, but for its last whole lines."""
        whole = text.split("\n")[:-1]
        self.seen = sum(len(line) + 1 for line in whole[: max(0, len(whole) - last)])

    def end(self) -> None:
        """The log has ended: shows a last line that has no end."""
        if self._line:
            self.show(self._line)
            self._line = ""
