"""Physical sound models of seven machine types, recorded by a microphone in a factory.

A clip is built in steps: jitter of the product, its fault, the model of its type, the resonances
of its body, factory noise and the response of the microphone.

N: samples of a clip at `SAMPLE_RATE` Hz. E: events in a clip. F: bins of a spectrum.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from raysearch.data.synthetic.plant import DIFFICULTY, Conditions, Fault, Product

SAMPLE_RATE = 16_000  # Hz
MAINS = 50.0  # Hz
_LEVEL = 0.05  # RMS of a clip of average level, full scale = 1
_PEAK = 0.98  # upper bound of all samples

Signal = NDArray[np.float32]
Curve = NDArray[np.float64]


@dataclass(frozen=True)
class Running:
    """A product that runs in a clip, with jitter and perhaps a fault."""

    turns: Curve  # (N,), cycles completed since before the clip began
    count: int
    pattern: float
    load: float
    fault: Fault
    rng: np.random.Generator

    @property
    def size(self) -> int:
        """Number of samples N."""
        return len(self.turns)


def _unit(signal: Signal) -> Signal:
    rms = float(np.sqrt(np.mean(np.square(signal))))
    return signal / np.float32(max(rms, 1e-9))


def _mix(*parts: tuple[float, Signal]) -> Signal:
    """Sum signals (N,), each times its gain."""
    total = np.zeros_like(parts[0][1])
    for gain, signal in parts:
        total += np.float32(gain) * signal
    return total


def _sine(turns: Curve) -> Signal:
    return np.sin((2 * np.pi * (turns - np.floor(turns))).astype(np.float32))


def _tone(turns: Curve, harmonics: int, decay: float, rng: np.random.Generator) -> Signal:
    """Return harmonics k**-decay of the phase `turns` (N,), with random phases and amplitudes."""
    phase = (2 * np.pi * (turns - np.floor(turns))).astype(np.float32)
    total = np.zeros(len(turns), np.float32)
    for k in range(1, harmonics + 1):
        start, height = rng.uniform(0, 2 * np.pi), k**-decay * np.exp(rng.normal(0, 0.3))
        total += np.float32(height) * np.sin(np.float32(k) * phase + np.float32(start))
    return _unit(total)


def _filtered(signal: Signal, response: NDArray[np.complex64] | Signal) -> Signal:
    filtered: Signal = scipy.fft.irfft(scipy.fft.rfft(signal) * response, len(signal))
    return filtered


def _hertz(size: int) -> Signal:
    return np.linspace(0, SAMPLE_RATE / 2, size // 2 + 1, dtype=np.float32)


def _shaped_noise(size: int, amplitudes: Signal, rng: np.random.Generator) -> Signal:
    """Return Gaussian noise (N,) of RMS 1 with a spectrum of these amplitudes (F,)."""
    parts = rng.standard_normal((len(amplitudes), 2), np.float32)
    noise: Signal = scipy.fft.irfft(amplitudes * parts.view(np.complex64)[:, 0], size)
    return _unit(noise)


def _noise(size: int, slope: float, rng: np.random.Generator) -> Signal:
    """Return Gaussian noise (N,) of RMS 1, amplitude frequency**-slope above 40 Hz."""
    return _shaped_noise(size, np.maximum(_hertz(size), 40) ** np.float32(-slope), rng)


def _wander(size: int, per_second: float, rng: np.random.Generator) -> Curve:
    """Draw a slow curve (N,), standard normal at `per_second` points a second, linear between."""
    points = rng.standard_normal(int(np.ceil(size / SAMPLE_RATE * per_second)) + 1)
    return np.interp(np.linspace(0, len(points) - 1, size), np.arange(len(points)), points)


def _hits(at: Curve, heights: Curve, size: int, decay: float, rng: np.random.Generator) -> Signal:
    """Return noise bursts (N,) of RMS 1, from the samples `at` (E,), that decay in `decay` s."""
    ages = np.arange(int(6 * decay * SAMPLE_RATE) + 1) / (decay * SAMPLE_RATE)
    burst = (rng.standard_normal(len(ages)) * np.exp(-ages)).astype(np.float32)
    total = np.zeros(size + len(burst), np.float32)
    for begin, height in zip(at.astype(int), heights.astype(np.float32), strict=True):
        total[begin : begin + len(burst)] += height * burst
    return _unit(total[:size])


def _pulses(run: Running, offset: float, *, per_cycle: int = 1, uneven: float = 0.002) -> Signal:
    """Return impacts (N,) at `offset` of each cycle, irregular or missing by the fault."""
    turns = run.turns * per_cycle
    marks = np.arange(np.floor(turns[0]) - 1, np.ceil(turns[-1]) + 1) + offset
    marks += run.rng.normal(0, uneven + run.fault.uneven, len(marks))
    heights = np.exp(run.rng.normal(0, 0.2, len(marks)))
    heights *= run.rng.random(len(marks)) >= run.fault.missing
    inside = (marks >= turns[0]) & (marks < turns[-1])
    at = np.interp(marks[inside], turns, np.arange(run.size))
    return _hits(at, heights[inside], run.size, 0.003, run.rng)


def _random_hits(run: Running, per_second: float, decay: float) -> Signal:
    """Return impacts (N,) at random times and of very unequal heights."""
    at = run.rng.uniform(0, run.size, 1 + run.rng.poisson(per_second * run.size / SAMPLE_RATE))
    return _hits(at, np.exp(run.rng.normal(0, 0.8, len(at))), run.size, decay, run.rng)


def _fan(run: Running) -> Signal:
    """Return blade-pass harmonics and hum of the motor in the noise of the flow."""
    blades = _tone(run.count * run.turns, 7, 0.9, run.rng)
    hum = _tone(2 * MAINS * np.arange(run.size) / SAMPLE_RATE, 4, 1.2, run.rng)
    flow = _noise(run.size, 0.5, run.rng) * (1 + 0.3 * _sine(run.count * run.turns))
    return _mix((0.7 * run.load, blades), (0.3, hum), (1.0, flow))


def _gearbox(run: Running) -> Signal:
    """Return mesh harmonics of two stages, with sidebands at the rate of the shaft."""
    wobble = _sine(run.turns)
    first = _tone(run.count * run.turns + 0.05 * wobble, 8, 0.6, run.rng) * (1 + 0.3 * wobble)
    second = _tone(run.count * run.pattern * run.turns, 8, 0.5, run.rng)
    return _mix((run.load, first), (0.6, second), (0.8, _noise(run.size, 0.6, run.rng)))


def _pump(run: Running) -> Signal:
    """Return flow that pulsates with the vanes, hum, and the crackle of cavitation."""
    pulse = (0.5 + 0.5 * _sine(run.count * run.turns)) ** 3
    flow = _unit(_noise(run.size, 0.3, run.rng) * (0.3 + pulse))
    vanes = _tone(run.count * run.turns, 6, 0.8, run.rng)
    hum = _tone(MAINS * np.arange(run.size) / SAMPLE_RATE, 6, 0.8, run.rng)
    crackle = _random_hits(run, 60 * run.load, 0.001)
    return _mix((1.0, flow), (0.6 * run.load, vanes), (0.3, hum), (0.3, crackle))


def _slider(run: Running) -> Signal:
    """Return strokes out and back: friction and screw tone follow the speed, reversals knock."""
    phase = run.turns % 1.0
    out = phase < run.pattern
    share = np.where(out, phase / run.pattern, (phase - run.pattern) / (1 - run.pattern))
    speed = np.sin(np.pi * share) * np.where(out, 1.0, run.pattern / (1 - run.pattern))
    screw = np.cumsum(speed * np.gradient(run.turns)) * run.count
    friction = _unit(_noise(run.size, 0.4, run.rng) * speed.astype(np.float32))
    whine = _unit(_tone(screw, 5, 0.7, run.rng) * speed.astype(np.float32))
    knocks = _mix((1.0, _pulses(run, 0.0)), (1.0, _pulses(run, run.pattern)))
    return _mix((run.load, friction), (0.5, whine), (0.6, knocks))


def _valve(run: Running) -> Signal:
    """Return solenoid clicks, opening and closing in a pattern, with flow while open."""
    opened = ((run.turns % 1.0) < run.pattern).astype(np.float32)
    flow = _unit(_noise(run.size, 0.2, run.rng) * (0.15 + opened))
    opening, bounce, closing = (_pulses(run, offset) for offset in (0.0, 0.03, run.pattern))
    return _mix((1.0, opening), (0.3, bounce), (0.7, closing), (0.35 * run.load, flow))


def _toy_car(run: Running) -> Signal:
    """Return the whine of a small DC motor of unsteady speed, and the rattle of its gears."""
    whine = _tone(run.count * run.turns, 7, 0.5, run.rng)
    rattle = _pulses(run, 0.0, per_cycle=3, uneven=0.1)
    return _mix((run.load, whine), (0.6, rattle), (0.6, _noise(run.size, 0.4, run.rng)))


def _toy_train(run: Running) -> Signal:
    """Return two axles over each rail joint, rolling noise and motor whine."""
    front, rear = _pulses(run, 0.0), _pulses(run, run.pattern)
    roll = _noise(run.size, 0.6, run.rng) * (1 + 0.3 * _sine(run.turns))
    whine = _tone(run.count * run.turns, 6, 0.6, run.rng)
    return _mix((1.0, front), (0.8, rear), (0.7 * run.load, roll), (0.4, whine))


# Model of each type, and relative standard deviation of its speed within a clip.
_MODELS: dict[str, tuple[Callable[[Running], Signal], float]] = {
    "fan": (_fan, 0.003),
    "gearbox": (_gearbox, 0.003),
    "pump": (_pump, 0.004),
    "slider": (_slider, 0.01),
    "valve": (_valve, 0.01),
    "ToyCar": (_toy_car, 0.02),
    "ToyTrain": (_toy_train, 0.015),
}


def _add_fault(run: Running, sound: Signal) -> Signal:
    """Add the sounds of a fault to a sound (N,) of RMS 1."""
    fault, rng = run.fault, run.rng
    if fault.swing:
        sound = sound * (1 + np.float32(fault.swing) * _sine(run.turns + rng.random()))
    if fault.knock:
        sound = _mix((1.0, sound), (fault.knock, _pulses(run, rng.random())))
    if fault.rattle:
        sound = _mix((1.0, sound), (fault.rattle, _random_hits(run, 12, 0.004)))
    if fault.hiss:
        centre = np.float32(rng.uniform(2500, 5500))
        band = np.exp(-(((_hertz(run.size) - centre) / np.float32(1000)) ** 2))
        sound = _mix((1.0, sound), (fault.hiss, _shaped_noise(run.size, band, rng)))
    if fault.squeal:
        pitch = rng.uniform(1500, 4000) * (1 + 0.03 * _wander(run.size, 5, rng))
        squeal = _tone(np.cumsum(pitch) / SAMPLE_RATE, 3, 1.0, rng)
        squeal = _unit(squeal * (_wander(run.size, 4, rng) > 0))
        sound = _mix((1.0, sound), (fault.squeal, squeal))
    return sound


def _body_response(modes: Curve, quality: float, size: int) -> NDArray[np.complex64]:
    """Return the response (F,) of a body: direct sound and resonances."""
    hertz = _hertz(size)
    response = np.full(len(hertz), 0.25, np.complex64)
    for mode in modes.astype(np.float32):
        damped = 1j * hertz / (mode * np.float32(quality))
        response += damped / (1 - (hertz / mode) ** 2 + damped)
    return response


def _factory_noise(size: int, rng: np.random.Generator) -> Signal:
    """Return background (N,) of RMS 1: coloured noise of varying level, and a few distant bumps."""
    hall = _noise(size, rng.uniform(0.3, 0.9), rng) * np.exp(0.25 * _wander(size, 1, rng))
    number = rng.poisson(0.5 * size / SAMPLE_RATE)
    at, heights = rng.uniform(0, size, number), np.exp(rng.normal(0, 0.5, number))
    bumps = _hits(at, heights, size, rng.uniform(0.01, 0.08), rng)
    walls = 1 / (1 + (_hertz(size) / rng.uniform(200, 3000)) ** 2)
    distant = _filtered(bumps, walls.astype(np.float32))
    return _unit(_mix((1.0, hall.astype(np.float32)), (0.5, distant)))


def _microphone_response(size: int, colour_db: float, rng: np.random.Generator) -> Signal:
    """Return the response (F,) of a microphone and its position, smooth over octaves, 0 at 0 Hz."""
    hertz = _hertz(size)
    octaves = np.log2(np.maximum(hertz, 40) / 40)
    points = np.linspace(0, octaves[-1], 7)
    gain = 10 ** (np.interp(octaves, points, rng.normal(0, colour_db, 7)) / 20)
    return (gain * hertz / (hertz + 20)).astype(np.float32)


def _run_product(
    wander: float, product: Product, fault: Fault, load: float, size: int, rng: np.random.Generator
) -> Running:
    """Draw the speed of a product in a clip, which varies by `wander`, and its timing."""
    rate = product.rate * (1 + fault.rate + DIFFICULTY.rate_jitter * rng.standard_normal())
    speed = rate * (1 + wander * _wander(size, 2, rng))
    turns = rng.random() + np.cumsum(speed) / SAMPLE_RATE
    pattern = product.pattern + fault.pattern + DIFFICULTY.pattern_jitter * rng.standard_normal()
    return Running(turns, product.count, float(np.clip(pattern, 0.05, 0.95)), load, fault, rng)


def record(
    machine: str,
    product: Product,
    fault: Fault,
    conditions: Conditions,
    *,
    size: int,
    rng: np.random.Generator,
) -> NDArray[np.int16]:
    """Record a clip of a machine in a factory.

    Args:
        machine: machine type, of `config.MACHINES`.
        product: construction of the machine.
        fault: fault of the machine, or `plant.HEALTHY`.
        conditions: load and SNR.
        size: length N in samples.
        rng: generator of all differences between clips.

    Returns:
        PCM samples (N,), below the limits of int16.
    """
    model, wander = _MODELS[machine]
    # Separate generators, so that a fault changes nothing else about a clip.
    machine_rng, fault_rng, room_rng = rng.spawn(3)
    run = _run_product(wander, product, fault, conditions.load, size, machine_rng)
    jitter = DIFFICULTY.mode_jitter * room_rng.standard_normal(len(product.modes))
    modes = np.array(product.modes) * (1 + fault.modes + jitter)
    sound = _add_fault(replace(run, rng=fault_rng), _unit(model(run)))
    machine_sound = _unit(_filtered(sound, _body_response(modes, product.quality, size)))
    snr = conditions.snr_db + room_rng.uniform(-1, 1) * DIFFICULTY.snr_spread_db
    mixed = machine_sound + np.float32(10 ** (-snr / 20)) * _factory_noise(size, room_rng)
    clip = _unit(_filtered(mixed, _microphone_response(size, DIFFICULTY.colour_db, room_rng)))
    level_db = room_rng.uniform(-1, 1) * DIFFICULTY.level_spread_db
    level = min(_LEVEL * 10 ** (level_db / 20), _PEAK / float(np.abs(clip).max()))
    return np.round(clip * np.float32(32767 * level)).astype(np.int16)
