"""Machines of the synthetic data set: their construction, scatter and faults.

This module sets the difficulty of the data set. Faults mostly change the properties that
distinguish products (speed, resonances, timing) and not the level, so that a detector has to learn
the sound of a product.
"""

from dataclasses import astuple, dataclass

import numpy as np

PRODUCT_IDS = (0, 1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Difficulty:
    """Scatter of healthy machines' recordings, and strength of faults."""

    strength: tuple[float, float] = (0.2, 1.3)  # of a fault, uniform; FAULTS is at strength 1
    rate_jitter: float = 0.010  # relative standard deviation of the speed
    mode_jitter: float = 0.010  # relative standard deviation of the resonances
    pattern_jitter: float = 0.010  # standard deviation of the timing, in cycles
    load: tuple[float, float] = (0.7, 1.3)  # 1 = nominal, uniform
    colour_db: float = 2.0  # standard deviation of the response of the microphone
    snr_spread_db: float = 1.5  # the SNR of a clip is uniform, this far around the nominal SNR
    level_spread_db: float = 4.0  # the level of a clip, likewise


DIFFICULTY = Difficulty()


@dataclass(frozen=True)
class Product:
    """Construction of the machine of a product ID."""

    rate: float  # Hz: turns, strokes or patterns per second
    count: int  # blades, teeth, vanes or bars that make a tone, per turn
    modes: tuple[float, ...]  # Hz, resonances of the body
    quality: float  # Q of these resonances
    pattern: float  # timing within a cycle, 0 to 1


@dataclass(frozen=True)
class Fault:
    """Changes by a fault at strength 1; all zero is a healthy machine. RMS: machine = 1."""

    rate: float = 0.0  # relative change of the speed
    modes: float = 0.0  # relative shift of the resonances
    pattern: float = 0.0  # shift of the timing, in cycles
    uneven: float = 0.0  # standard deviation of the times of events, in cycles
    missing: float = 0.0  # probability that an event is missing
    swing: float = 0.0  # depth of the modulation once per cycle
    knock: float = 0.0  # RMS of one impact per cycle
    rattle: float = 0.0  # RMS of irregular impacts
    hiss: float = 0.0  # RMS of band noise
    squeal: float = 0.0  # RMS of a wandering tone

    def scaled(self, factor: float) -> "Fault":
        """Return the same fault at `factor` times its strength."""
        return Fault(*(factor * value for value in astuple(self)))


@dataclass(frozen=True)
class Conditions:
    """Conditions of a recording."""

    load: float  # of the machine, 1 = nominal
    snr_db: float  # machine over factory noise, on average over clips


HEALTHY = Fault()

FAULTS: dict[str, dict[str, Fault]] = {
    "fan": {
        "imbalance": Fault(swing=0.6, rate=-0.03),
        "deposit on the blades": Fault(rate=-0.06, modes=-0.03),
        "loose shroud": Fault(modes=-0.08, rattle=0.30),
        "blade scraping": Fault(knock=0.50, modes=0.05),
    },
    "gearbox": {
        "chipped tooth": Fault(knock=0.60, swing=0.5),
        "eccentric gear": Fault(swing=0.8, modes=0.055),
        "slack mounting": Fault(modes=-0.07, rattle=0.30),
        "slipping drive": Fault(rate=-0.05, pattern=-0.02),
    },
    "pump": {
        "cavitation": Fault(rattle=0.40, modes=0.04),
        "leak": Fault(hiss=0.35, rate=0.03),
        "clogged inlet": Fault(rate=-0.05, swing=0.3),
        "worn impeller": Fault(modes=-0.06, swing=0.3),
    },
    "slider": {
        "sticking": Fault(uneven=0.06, pattern=0.12),
        "slowed stroke": Fault(rate=-0.14, pattern=0.08),
        "dry rail": Fault(squeal=0.30, modes=0.05),
        "loose carriage": Fault(modes=-0.08, rattle=0.30),
    },
    "valve": {
        "late closing": Fault(pattern=0.10, uneven=0.02),
        "missed strokes": Fault(missing=0.25, uneven=0.03),
        "weak spring": Fault(modes=-0.08, pattern=0.05),
        "leak": Fault(hiss=0.30, modes=0.05),
    },
    "ToyCar": {
        "bent shaft": Fault(swing=0.6, rate=-0.03),
        "damaged gear": Fault(knock=0.40, modes=0.04),
        "worn brushes": Fault(rate=-0.08, hiss=0.30),
        "deformed tyre": Fault(modes=-0.08, rattle=0.30),
    },
    "ToyTrain": {
        "flat wheel": Fault(knock=0.40, swing=0.3),
        "broken rail joint": Fault(pattern=0.10, uneven=0.02),
        "obstructed track": Fault(rate=-0.08, squeal=0.25),
        "loose bogie": Fault(modes=-0.08, rattle=0.30),
    },
}

# Mean product of each machine type; its six products scatter around it.
_TYPES = {
    "fan": Product(24.0, 7, (310.0, 870.0, 2150.0), 9.0, 0.5),
    "gearbox": Product(16.0, 29, (720.0, 1650.0, 3300.0), 14.0, 0.38),
    "pump": Product(29.0, 6, (430.0, 1250.0, 3700.0), 10.0, 0.5),
    "slider": Product(1.9, 420, (560.0, 1900.0, 4300.0), 12.0, 0.55),
    "valve": Product(2.6, 40, (950.0, 2400.0, 5100.0), 35.0, 0.42),
    "ToyCar": Product(21.0, 22, (640.0, 1500.0, 4600.0), 12.0, 0.5),
    "ToyTrain": Product(2.3, 150, (480.0, 1350.0, 2900.0), 16.0, 0.36),
}

# Steps of the IDs along (speed, first, second, third resonance, timing): no two IDs agree in more
# than one column, and neighbours in one are distant in the others, so that no single cue
# distinguishes all IDs.
_STEPS = np.array(
    [
        [-2.5, -0.5, 1.5, -1.5, 0.5],
        [0.5, 2.5, -1.5, 0.5, -2.5],
        [2.5, -1.5, -0.5, 2.5, 1.5],
        [-0.5, 1.5, 2.5, -2.5, -1.5],
        [1.5, -2.5, 0.5, -0.5, 2.5],
        [-1.5, 0.5, -2.5, 1.5, -0.5],
    ]
)
_RATE_STEP, _MODE_STEP, _PATTERN_STEP = 0.030, 0.035, 0.035


def product(machine: str, product_id: int) -> Product:
    """Return the construction of product `product_id` (0 to 5) of `machine`, free of any seed."""
    mean, steps = _TYPES[machine], _STEPS[product_id]
    modes = np.array(mean.modes) * (1 + _MODE_STEP * steps[1:4])
    return Product(
        rate=mean.rate * (1 + _RATE_STEP * float(steps[0])),
        count=mean.count,
        modes=tuple(float(mode) for mode in modes),
        quality=mean.quality,
        pattern=mean.pattern + _PATTERN_STEP * float(steps[4]),
    )
