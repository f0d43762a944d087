"""The budget of a search: time and device hours."""

import time
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Budget:
    """Limits of a whole search; None is no limit.

    Attributes:
        seconds: wall time since `start`.
        gpu_hours: hours of a GPU, or of a worker process where trials run on CPUs. Trials of
            earlier runs of the same studies count.
        start: time on the monotonic clock at which the first trial may start, in s.
    """

    seconds: float | None = None
    gpu_hours: float | None = None
    start: float = field(default_factory=time.monotonic)

    def spent(self, device_seconds: float) -> str | None:
        """Return the limit that is spent, as a stop reason; None while there is budget left.

        Args:
            device_seconds: cost of the studies so far.
        """
        if self.seconds is not None and time.monotonic() - self.start >= self.seconds:
            return "the time budget is spent"
        if self.gpu_hours is not None and device_seconds >= 3600 * self.gpu_hours:
            return "the GPU hours are spent"
        return None
