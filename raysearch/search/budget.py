"""What a search may take: time, and hours of its devices."""

import time
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Budget:
    """What a search may take in all; None does not limit.

    Attributes:
        seconds: from the time at which its first trial may start.
        gpu_hours: hours of a GPU, or of a worker process where trials run on CPUs; trials of
            earlier runs of the same studies count.
        start: of the search, on the monotonic clock, in s.
    """

    seconds: float | None = None
    gpu_hours: float | None = None
    start: float = field(default_factory=time.monotonic)

    def spent(self, device_seconds: float) -> str | None:
        """Return which of its parts is spent; None while none is.

        Args:
            device_seconds: that the studies took so far.
        """
        if self.seconds is not None and time.monotonic() - self.start >= self.seconds:
            return "the time budget is spent"
        if self.gpu_hours is not None and device_seconds >= 3600 * self.gpu_hours:
            return "the GPU hours are spent"
        return None
