"""Seven physical sound models, and the microphone that hears them in a factory.

A product is disturbed as every recording is, a fault moves it further, the model of its type plays
it, its body rings, factory noise is mixed in and a microphone colours the whole.

N: samples of a clip at `SAMPLE_RATE` Hz. E: events in a clip. F: bins of a spectrum.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from raysearch.data.synthetic.plant import DIFFICULTY, Fault, Product

SAMPLE_RATE = 16_000  # Hz
MAINS = 50.0  # Hz
_LEVEL = 0.05  # RMS of a clip of average level, full scale = 1
_PEAK = 0.98  # no sample goes beyond

Signal = NDArray[np.float32]
Curve = NDArray[np.float64]


@dataclass(frozen=True)
class Running:
    """A product as it runs in one clip, disturbed and perhaps faulty."""

    turns: Curve  # (N,), cycles done since before the clip began
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
    """Harmonics k**-decay over the phase `turns` (N,), at random phases and lively amplitudes."""
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


def _shaped(size: int, amplitudes: Signal, rng: np.random.Generator) -> Signal:
    """Gaussian noise (N,) of RMS 1 with a spectrum of these amplitudes (F,)."""
    parts = rng.standard_normal((len(amplitudes), 2), np.float32)
    noise: Signal = scipy.fft.irfft(amplitudes * parts.view(np.complex64)[:, 0], size)
    return _unit(noise)


def _noise(size: int, slope: float, rng: np.random.Generator) -> Signal:
    """Gaussian noise (N,) of RMS 1; its amplitude falls as frequency**-slope above 40 Hz."""
    return _shaped(size, np.maximum(_hertz(size), 40) ** np.float32(-slope), rng)


def _wander(size: int, per_second: float, rng: np.random.Generator) -> Curve:
    """Draw a slow curve (N,), standard normal at `per_second` points a second, linear between."""
    points = rng.standard_normal(int(np.ceil(size / SAMPLE_RATE * per_second)) + 1)
    return np.interp(np.linspace(0, len(points) - 1, size), np.arange(len(points)), points)


def _blows(at: Curve, heights: Curve, size: int, decay: float, rng: np.random.Generator) -> Signal:
    """Bursts of noise that die away in `decay` s, begun at the samples `at` (E,): (N,), RMS 1."""
    ages = np.arange(int(6 * decay * SAMPLE_RATE) + 1) / (decay * SAMPLE_RATE)
    burst = (rng.standard_normal(len(ages)) * np.exp(-ages)).astype(np.float32)
    total = np.zeros(size + len(burst), np.float32)
    for begin, height in zip(at.astype(int), heights.astype(np.float32), strict=True):
        total[begin : begin + len(burst)] += height * burst
    return _unit(total[:size])


def _beats(run: Running, offset: float, *, per_cycle: int = 1, uneven: float = 0.002) -> Signal:
    """Blows (N,) `offset` into each cycle, as regular as the machine is healthy."""
    turns = run.turns * per_cycle
    marks = np.arange(np.floor(turns[0]) - 1, np.ceil(turns[-1]) + 1) + offset
    marks += run.rng.normal(0, uneven + run.fault.uneven, len(marks))
    heights = np.exp(run.rng.normal(0, 0.2, len(marks)))
    heights *= run.rng.random(len(marks)) >= run.fault.missing
    heard = (marks >= turns[0]) & (marks < turns[-1])
    at = np.interp(marks[heard], turns, np.arange(run.size))
    return _blows(at, heights[heard], run.size, 0.003, run.rng)


def _random_blows(run: Running, per_second: float, decay: float) -> Signal:
    """Blows (N,) at random times and of very unequal heights."""
    at = run.rng.uniform(0, run.size, 1 + run.rng.poisson(per_second * run.size / SAMPLE_RATE))
    return _blows(at, np.exp(run.rng.normal(0, 0.8, len(at))), run.size, decay, run.rng)


def _fan(run: Running) -> Signal:
    """Blade-pass harmonics and hum of the motor in the noise of the flow."""
    blades = _tone(run.count * run.turns, 7, 0.9, run.rng)
    hum = _tone(2 * MAINS * np.arange(run.size) / SAMPLE_RATE, 4, 1.2, run.rng)
    flow = _noise(run.size, 0.5, run.rng) * (1 + 0.3 * _sine(run.count * run.turns))
    return _mix((0.7 * run.load, blades), (0.3, hum), (1.0, flow))


def _gearbox(run: Running) -> Signal:
    """Mesh harmonics of two stages, with sidebands at the rate of the shaft."""
    wobble = _sine(run.turns)
    first = _tone(run.count * run.turns + 0.05 * wobble, 8, 0.6, run.rng) * (1 + 0.3 * wobble)
    second = _tone(run.count * run.pattern * run.turns, 8, 0.5, run.rng)
    return _mix((run.load, first), (0.6, second), (0.8, _noise(run.size, 0.6, run.rng)))


def _pump(run: Running) -> Signal:
    """Flow that pulsates with the vanes, hum, and the crackle of cavitation."""
    pulse = (0.5 + 0.5 * _sine(run.count * run.turns)) ** 3
    flow = _unit(_noise(run.size, 0.3, run.rng) * (0.3 + pulse))
    vanes = _tone(run.count * run.turns, 6, 0.8, run.rng)
    hum = _tone(MAINS * np.arange(run.size) / SAMPLE_RATE, 6, 0.8, run.rng)
    crackle = _random_blows(run, 60 * run.load, 0.001)
    return _mix((1.0, flow), (0.6 * run.load, vanes), (0.3, hum), (0.3, crackle))


def _slider(run: Running) -> Signal:
    """Strokes out and back: friction and screw tone follow the speed, reversals knock."""
    there = run.turns % 1.0
    out = there < run.pattern
    share = np.where(out, there / run.pattern, (there - run.pattern) / (1 - run.pattern))
    speed = np.sin(np.pi * share) * np.where(out, 1.0, run.pattern / (1 - run.pattern))
    screw = np.cumsum(speed * np.gradient(run.turns)) * run.count
    friction = _unit(_noise(run.size, 0.4, run.rng) * speed.astype(np.float32))
    whine = _unit(_tone(screw, 5, 0.7, run.rng) * speed.astype(np.float32))
    knocks = _mix((1.0, _beats(run, 0.0)), (1.0, _beats(run, run.pattern)))
    return _mix((run.load, friction), (0.5, whine), (0.6, knocks))


def _valve(run: Running) -> Signal:
    """Solenoid clicks, opening and closing in a pattern, with flow while it is open."""
    opened = ((run.turns % 1.0) < run.pattern).astype(np.float32)
    flow = _unit(_noise(run.size, 0.2, run.rng) * (0.15 + opened))
    opening, bounce, closing = (_beats(run, offset) for offset in (0.0, 0.03, run.pattern))
    return _mix((1.0, opening), (0.3, bounce), (0.7, closing), (0.35 * run.load, flow))


def _toy_car(run: Running) -> Signal:
    """Whine of a small DC motor that never keeps its speed, and its gears rattling."""
    whine = _tone(run.count * run.turns, 7, 0.5, run.rng)
    rattle = _beats(run, 0.0, per_cycle=3, uneven=0.1)
    return _mix((run.load, whine), (0.6, rattle), (0.6, _noise(run.size, 0.4, run.rng)))


def _toy_train(run: Running) -> Signal:
    """Two axles over each rail joint, rolling noise between, motor whine above."""
    front, rear = _beats(run, 0.0), _beats(run, run.pattern)
    roll = _noise(run.size, 0.6, run.rng) * (1 + 0.3 * _sine(run.turns))
    whine = _tone(run.count * run.turns, 6, 0.6, run.rng)
    return _mix((1.0, front), (0.8, rear), (0.7 * run.load, roll), (0.4, whine))


# Each type: its model, and how far its speed wanders within a clip (relative, standard deviation).
_MODELS: dict[str, tuple[Callable[[Running], Signal], float]] = {
    "fan": (_fan, 0.003),
    "gearbox": (_gearbox, 0.003),
    "pump": (_pump, 0.004),
    "slider": (_slider, 0.01),
    "valve": (_valve, 0.01),
    "ToyCar": (_toy_car, 0.02),
    "ToyTrain": (_toy_train, 0.015),
}


def _defects(run: Running, sound: Signal) -> Signal:
    """Add to a sound (N,) of RMS 1 what a fault makes heard."""
    fault, rng = run.fault, run.rng
    if fault.swing:
        sound = sound * (1 + np.float32(fault.swing) * _sine(run.turns + rng.random()))
    if fault.knock:
        sound = _mix((1.0, sound), (fault.knock, _beats(run, rng.random())))
    if fault.rattle:
        sound = _mix((1.0, sound), (fault.rattle, _random_blows(run, 12, 0.004)))
    if fault.hiss:
        centre = np.float32(rng.uniform(2500, 5500))
        band = np.exp(-(((_hertz(run.size) - centre) / np.float32(1000)) ** 2))
        sound = _mix((1.0, sound), (fault.hiss, _shaped(run.size, band, rng)))
    if fault.squeal:
        pitch = rng.uniform(1500, 4000) * (1 + 0.03 * _wander(run.size, 5, rng))
        squeal = _tone(np.cumsum(pitch) / SAMPLE_RATE, 3, 1.0, rng)
        squeal = _unit(squeal * (_wander(run.size, 4, rng) > 0))
        sound = _mix((1.0, sound), (fault.squeal, squeal))
    return sound


def _body(modes: Curve, quality: float, size: int) -> NDArray[np.complex64]:
    """Response (F,) of a body: some of the sound passes, the resonances ring."""
    hertz = _hertz(size)
    response = np.full(len(hertz), 0.25, np.complex64)
    for mode in modes.astype(np.float32):
        damped = 1j * hertz / (mode * np.float32(quality))
        response += damped / (1 - (hertz / mode) ** 2 + damped)
    return response


def _factory(size: int, rng: np.random.Generator) -> Signal:
    """Background (N,) of RMS 1: coloured noise that swells, and a few bumps from elsewhere."""
    hall = _noise(size, rng.uniform(0.3, 0.9), rng) * np.exp(0.25 * _wander(size, 1, rng))
    number = rng.poisson(0.5 * size / SAMPLE_RATE)
    at, heights = rng.uniform(0, size, number), np.exp(rng.normal(0, 0.5, number))
    bumps = _blows(at, heights, size, rng.uniform(0.01, 0.08), rng)
    walls = 1 / (1 + (_hertz(size) / rng.uniform(200, 3000)) ** 2)
    distant = _filtered(bumps, walls.astype(np.float32))
    return _unit(_mix((1.0, hall.astype(np.float32)), (0.5, distant)))


def _microphone(size: int, colour_db: float, rng: np.random.Generator) -> Signal:
    """Response (F,) of a microphone and its place, smooth over the octaves, deaf to 0 Hz."""
    hertz = _hertz(size)
    octaves = np.log2(np.maximum(hertz, 40) / 40)
    points = np.linspace(0, octaves[-1], 7)
    gain = 10 ** (np.interp(octaves, points, rng.normal(0, colour_db, 7)) / 20)
    return (gain * hertz / (hertz + 20)).astype(np.float32)


def _start(
    wander: float, product: Product, fault: Fault, load: float, size: int, rng: np.random.Generator
) -> Running:
    """Start a product: this clip's speed, which wanders by `wander`, and its timing."""
    rate = product.rate * (1 + fault.rate + DIFFICULTY.rate_jitter * rng.standard_normal())
    speed = rate * (1 + wander * _wander(size, 2, rng))
    turns = rng.random() + np.cumsum(speed) / SAMPLE_RATE
    pattern = product.pattern + fault.pattern + DIFFICULTY.pattern_jitter * rng.standard_normal()
    return Running(turns, product.count, float(np.clip(pattern, 0.05, 0.95)), load, fault, rng)


def record(
    machine: str,
    product: Product,
    fault: Fault,
    *,
    load: float,
    size: int,
    snr_db: float,
    rng: np.random.Generator,
) -> NDArray[np.int16]:
    """Record a clip of a machine in a factory.

    Args:
        machine: one of `plant.MACHINES`.
        product: how it is built.
        fault: what is wrong with it, `plant.HEALTHY` for nothing.
        load: how hard it works, 1 = nominal.
        size: length N in samples.
        snr_db: machine over factory noise, dB, on average over clips.
        rng: draws everything that differs from clip to clip.

    Returns:
        PCM samples (N,), never at the limits of int16.
    """
    model, wander = _MODELS[machine]
    # Apart, so that a fault changes nothing else about a clip.
    machine_rng, fault_rng, place_rng = rng.spawn(3)
    run = _start(wander, product, fault, load, size, machine_rng)
    jitter = DIFFICULTY.mode_jitter * place_rng.standard_normal(len(product.modes))
    modes = np.array(product.modes) * (1 + fault.modes + jitter)
    sound = _defects(replace(run, rng=fault_rng), _unit(model(run)))
    heard = _unit(_filtered(sound, _body(modes, product.quality, size)))
    snr = snr_db + place_rng.uniform(-1, 1) * DIFFICULTY.snr_spread_db
    mixed = heard + np.float32(10 ** (-snr / 20)) * _factory(size, place_rng)
    clip = _unit(_filtered(mixed, _microphone(size, DIFFICULTY.colour_db, place_rng)))
    level_db = place_rng.uniform(-1, 1) * DIFFICULTY.level_spread_db
    level = min(_LEVEL * 10 ** (level_db / 20), _PEAK / float(np.abs(clip).max()))
    return np.round(clip * np.float32(32767 * level)).astype(np.int16)
