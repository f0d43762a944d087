"""Options of a trial, strictly checked, and the methods with which each has an effect.

Settings that change the science live here and in the space file that sets them; operational
ones (resources, folders) are flags of the command line and never enter a signature.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from raysearch.errors import UserError

MACHINES = ("fan", "gearbox", "pump", "valve", "slider", "ToyCar", "ToyTrain")
"""Machine types of DCASE 2021 Task 2, in the order of the paper's tables."""

Value = float | int | str | bool
"""Value of a dimension of a search."""

Method = Literal[
    "proposed",
    "serial",
    "serial_aam",
    "ddcsad",
    "autoencoder",
    "flow",
    "frozen",
    "baseline",
    "parallel",
]
"""Names of the methods; each but `PARALLEL` has a module in methods/."""

PARALLEL = "parallel"
"""Method of several detectors whose scores are averaged; each is found by a study."""

UNTRAINED = frozenset({"baseline", "frozen"})
"""Methods without a training: they score what a fixed network returns."""

Inlier = Literal[
    "gmm",
    "gmm_diag",
    "gmm_tied",
    "lof",
    "knn",
    "knn_cosine",
    "knn_local",
    "mahalanobis",
    "pca",
    "ocsvm",
    "kde",
    "none",
]
"""Names of the inlier models; scoring/spec.py describes them and their p."""

Aggregator = Literal["mean", "above_median", "max"]
"""Functions from the scores of a clip's segments to the score of the clip."""


def id_order(product_id: str) -> tuple[int, int, str]:
    """Return the sorting key of a product ID: numbers by value, then names."""
    return (0, int(product_id), "") if product_id.isdecimal() else (1, 0, product_id)


class Strict(BaseModel):
    """A frozen model in which an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Options(Strict):
    """Settings of a trial that are not searched.

    Defaults are the paper's where it states them, else those of its first author's recipes.

    Attributes:
        method: system that is trained and scored.
        epochs: passes over the target machine's training clips; 0 for a method that is not
            trained.
        backbone: any timm model; `hf-hub:NAME` for a model of a hub, `local-dir:FOLDER` of a
            folder.
        pretrained: True loads timm's weights, False starts at random, a path loads that file.
        embedding: dimensions of the embedding, D.
        neck: one non-linear transformation and a linear one, as in the first author's recipes, or
            two non-linear ones, as in the paper.
        dropout: probability, before the neck.
        divide_norm: the machine head sees ||f||^2 / D rather than ||f||^2.
        machine_head: sign of the factor a in the machine logit a ||f||^2 + b: `signed` begins above
            0 and may change it; `positive` keeps it.
        rate: sampling rate in Hz; clips of another rate are resampled.
        channel: channel to keep, from 0; None averages all.
        domain: recordings to use, those of the source domain, of the target domain or of both.
        test_domain: the same for test clips, also those of the validation IDs; None is `domain`.
        segment_seconds: length of a training crop and of a scoring segment.
        segments: number of overlapping segments that a clip is scored by; a clip that they do not
            cover has more, a clip of one segment has one.
        n_fft: window of the spectrogram in samples.
        hop: step of the spectrogram in samples.
        n_mels: mel bands.
        f_min: lowest frequency in Hz.
        f_max: highest frequency in Hz.
        compression: of the mel amplitudes.
        amplitude: origin of the mean and variance that normalise other machine types: their own
            recordings or the target's.
        mixup: its probability over training: always 1, rising to 1, falling from 1, or off.
        mixup_alpha: both parameters of the Beta distribution of the mixing coefficient.
        machine_loss: False trains the proposed method by the product loss alone ("only product
            IDs" in Table III).
        product_mask: samples in the product loss of the proposed method: `target` takes those
            with the target in their mix (equation 1), `all` takes other machine types as well,
            with no product ID (the first author's recipe).
        aam_margin: additive angular margin of serial_aam, radians.
        aam_scale: factor of the cosines of serial_aam.
        ddcsad_metric: distances in the loss of ddcsad: to the centroids of both classes, or as in
            Deep SAD to that of the product ID alone.
        ddcsad_metric_weight: weight of these distances beside the binary cross-entropy.
        ddcsad_score_weight: weight of the probability in the score of ddcsad; the rest is that of
            the distance to the centroid.
        weight_decay: of AdamW.
        validation_share: share of each ID's training clips that choose the epoch and fit the
            inlier models.
        validation_segments: segments of such a clip in the validation loss: the first, or as many
            as cover the clip.
        precision: auto is bf16 on CUDA and fp32 elsewhere.
        compile: torch.compile of the training step, which on a GPU is a CUDA graph as well.
        inlier_fit: training clips that inlier models are fitted on: the validation share (as the
            paper) or all.
        reg_covar: added to the diagonal of each covariance of the Gaussian mixtures.
        aggregator: aggregator of segment scores by inlier model. Default, as in the paper: the
            mean above the median for Gaussian mixtures and the mean for all others.
        threshold_quantile: of the gamma distribution of training-normal scores; anomalous is above.
    """

    method: Method = "proposed"
    epochs: int = Field(300, ge=0)
    backbone: str = "tf_efficientnet_b0.ns_jft_in1k"
    pretrained: bool | str = True
    embedding: int = Field(128, gt=0, le=65536)
    neck: Literal["recipe", "paper"] = "recipe"
    dropout: float = Field(0.3, ge=0, lt=1)
    divide_norm: bool = True
    machine_head: Literal["signed", "positive"] = "signed"
    rate: int = Field(16000, gt=0, le=1_000_000)
    channel: int | None = Field(None, ge=0)
    domain: Literal["source", "target", "both"] = "source"
    test_domain: Literal["source", "target", "both"] | None = None
    segment_seconds: float = Field(2.0, gt=0, le=3600)
    segments: int = Field(10, gt=0, le=10_000)
    n_fft: int = Field(2048, gt=0, le=131072)
    hop: int = Field(256, gt=0)
    n_mels: int = Field(224, gt=0, le=4096)
    f_min: float = Field(50.0, ge=0)
    f_max: float = Field(7800.0, gt=0)
    compression: Literal["log", "db", "none"] = "log"
    amplitude: Literal["own", "target"] = "own"
    mixup: Literal["constant", "rise", "decay", "off"] = "constant"
    mixup_alpha: float = Field(0.2, gt=0)
    machine_loss: bool = True
    product_mask: Literal["target", "all"] = "target"
    aam_margin: float = Field(0.5, ge=0, lt=math.pi / 2)
    aam_scale: float = Field(30.0, gt=0)
    ddcsad_metric: Literal["centroids", "deep_sad"] = "centroids"
    ddcsad_metric_weight: float = Field(1.0, ge=0)
    ddcsad_score_weight: float = Field(0.5, ge=0, le=1)
    weight_decay: float = Field(0.0, ge=0)
    validation_share: float = Field(0.1, gt=0, lt=1)
    validation_segments: Literal["first", "all"] = "first"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool = False
    inlier_fit: Literal["validation", "all"] = "validation"
    reg_covar: float = Field(1e-6, ge=0)
    aggregator: dict[Inlier, Aggregator] = Field(default_factory=dict)
    threshold_quantile: float = Field(0.9, gt=0, lt=1)

    @model_validator(mode="before")
    @classmethod
    def _no_epochs(cls, content: object) -> object:
        if isinstance(content, Mapping) and content.get("method") in list(UNTRAINED):
            return {**content, "epochs": 0}
        return content

    @field_validator("mixup", mode="before")
    @classmethod
    def _mixup(cls, value: object) -> object:
        return _read_off(value)

    @model_validator(mode="after")
    def _consistent(self) -> "Options":
        if self.epochs == 0 and self.method not in UNTRAINED:
            raise ValueError("epochs: should be greater than 0")
        if not self.f_min < self.f_max <= self.rate / 2:
            raise ValueError(f"f_min < f_max <= rate / 2 = {self.rate / 2:g} Hz must hold")
        if math.prod(self.spectrogram) > 1 << 26:
            raise ValueError("hop: a segment has more than 67 million mel amplitudes")
        if self.segment <= self.n_fft // 2:
            raise ValueError("segment_seconds must be longer than half of n_fft")
        return self

    @property
    def segment(self) -> int:
        """Length of a segment in samples, T."""
        return round(self.segment_seconds * self.rate)

    @property
    def spectrogram(self) -> tuple[int, int]:
        """Mel bands and frames of a segment's spectrogram."""
        return self.n_mels, self.segment // self.hop + 1

    def replace(self, values: Mapping[str, Any]) -> "Options":
        """Return the options with other values, which are checked.

        Raises:
            ValidationError: a value is not allowed.
        """
        return Options.model_validate(self.model_dump() | dict(values)) if values else self


def parse_option(name: str, value: object) -> Value:
    """Validate the value of one option, without the others.

    Raises:
        ValidationError: the value is not allowed.
    """
    field = Options.model_fields[name]
    annotation: Any = Annotated[field.annotation, field]
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    parsed: Value = adapter.validate_python(_read_off(value) if name == "mixup" else value)
    return parsed


def default_value(name: str) -> Value:
    """Return the value of a dimension that a configuration of another study does not have."""
    others: dict[str, Value] = {"lr": 1e-3, "batch_size": 128, "lambda": 1.0}
    return others[name] if name in others else Options.model_fields[name].default


def _read_off(value: object) -> object:
    """Read `off` as text: YAML takes it for False."""
    return "off" if value is False else value


SCORING_ONLY = frozenset(
    {
        *("segments", "inlier_fit", "reg_covar", "aggregator", "threshold_quantile"),
        *("ddcsad_score_weight", "test_domain"),
    }
)
"""Options of scoring, which leave the encoder as it is."""

LATER = frozenset(
    {
        *("machine_loss", "machine_head", "product_mask", "aam_margin", "aam_scale", "compile"),
        *("ddcsad_metric", "ddcsad_metric_weight", "neck", "validation_segments"),
    }
)
"""Options that the first version did not have; a signature leaves them out at their defaults."""


def explain(error: ValidationError, where: str) -> UserError:
    """Convert the first error of pydantic into a UserError of one line with file and key."""
    first = error.errors()[0]
    # The names of models and validators that pydantic puts between the keys are not the user's.
    parts = [str(part) for part in first["loc"] if part != "function-after"]
    key = ".".join(part for part in parts if not part[:1].isupper())
    problem = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        problem = "unknown key"
    # The problem of a mapping may name one of its keys, ...
    if match := re.match(r"([a-z_.]+): (.*)", problem):
        # ... and searched options stand beside the other dimensions in a space file.
        key = ".".join(filter(None, [key.removesuffix(".options"), match[1]]))
        problem = match[2]
    return UserError(f"{where}: {key or 'top level'}: {problem}")


OUTLIER_EXPOSURE: frozenset[Value] = frozenset({"proposed"})
"""Methods that cannot be trained without recordings of another machine type."""


def digest(content: Mapping[str, Any]) -> str:
    """Return 12 hexadecimal digits of the hash of some JSON content."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def derive_seed(*parts: int) -> int:
    """Return a separate seed for each use of a trial's seed, so that no two share their draws."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)
