"""The checks of a .tflite file: their ids, titles and remedies, and the result of one check."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Literal

State = Literal["passed", "failed", "not checked"]
Bound = Literal["expected:", "at most", "at least"]
Value = str | float | int | None

_FAULT = "report this as a fault of the toolkit, or choose another quantization or output"
_ROUNDING = "use float16, or keep layers float with float_layers (benchmarks/export_layers.py finds the sensitive ones)"
_ACCURACY = "raise max_miou_drop, use another quantization, keep layers float with float_layers, or train longer"

_PER_TENSOR = "raise max_miou_drop, or train with training.quantize_aware=true training.quantization.per_tensor=true"


class CheckId(Enum):
    """The constant id of each check. The report stores the id; people read the title.

    Attributes:
        title: what was checked, in a few words.
        remedy: what to do if an exported file fails this check.
        bound: how the limit bounds the measured value.
    """

    title: str
    remedy: str
    bound: Bound

    def __new__(cls, value: str, title: str, remedy: str = _FAULT, bound: Bound = "expected:") -> "CheckId":
        """Create a member whose value is its id."""
        member = object.__new__(cls)
        member._value_, member.title, member.remedy, member.bound = value, title, remedy, bound
        return member

    OPENS = "opens", "opens in LiteRT"
    REPORT_SHA256 = "report_sha256", "sha256 in its report"

    OPERATORS = "operators", "operators"
    FIRST_OPERATORS = "first_operators", "operators on the image"
    FLOAT_OPERATORS = "float_operators", "float operators"
    CONVERSIONS = "conversions", "dtype conversions", _FAULT, "at most"
    TRAINED_RANGES = "trained_ranges", "tensors outside the trained ranges"
    SEVERAL_SCALES = "several_scales", "tensors with several scales", _FAULT, "at most"

    INPUT_MATCHES = "input_matches", "input matches the settings"
    OUTPUT_MATCHES = "output_matches", "output matches the settings"
    RAW_PIXELS = "raw_pixels", "input accepts raw pixels"
    CLIENT_INPUT_TYPE = "client_input_type", "input dtype suits the clients"
    CLIENT_OUTPUT_TYPE = "client_output_type", "output dtype suits the clients"

    METADATA = "metadata", "metadata"
    LABEL_COUNT = "label_count", "number of labels"
    LABELS = "labels", "labels"
    NORMALIZATION = "normalization", "normalization"
    ACTIVATION = "activation", "activation"

    KERAS_AGREEMENT = "keras_agreement", "agreement with Keras"
    SCORE_ERROR = "score_error", "relative error of the scores", _ROUNDING, "at most"
    PIXEL_AGREEMENT = "pixel_agreement", "pixels that agree with Keras", _ROUNDING, "at least"
    CLEAR_PIXEL_AGREEMENT = (
        "clear_pixel_agreement",
        "pixels with a clear winner that agree with Keras",
        _ROUNDING,
        "at least",
    )
    MASK_SHIFT = "mask_shift", "best-matching shift of the masks"
    MIOU_DROP = "miou_drop", "mIoU", _ACCURACY, "at most"
    PER_TENSOR_COST = "per_tensor_cost", "mIoU with per-tensor kernels", _PER_TENSOR, "at most"
    SIMULATED_XNNPACK = "simulated_xnnpack", "pixels as simulated, XNNPACK kernels", _FAULT, "at least"
    SIMULATED_BUILTIN = "simulated_builtin", "pixels as simulated, builtin kernels", _FAULT, "at least"

    CLIENTS = "clients", "clients"
    KERNEL_AGREEMENT = "kernel_agreement", "pixels on which XNNPACK and builtin kernels agree", _FAULT, "at least"
    TASK_LIBRARY = "task_library", "Task Library"
    MEDIAPIPE = "mediapipe", "MediaPipe"


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        id: which check.
        state: "not checked" if it could not be run, never "passed".
        measured: the actual value.
        limit: the expected or limiting value; the reason if the check could not be run.
        scope: what the value was measured on; "" if there is nothing to add to the title.
        words: the measured value in words; "" if the value is clear alone.
    """

    id: CheckId
    state: State
    measured: Value = None
    limit: Value = None
    scope: str = ""
    words: str = ""

    def __str__(self) -> str:
        """Return one line: title, scope, state, value and limit."""
        if self.state == "not checked":
            return f"{self.id.title}: not checked ({self.limit})"
        return f"{f'{self.id.title} {self.scope}'.rstrip()}: {self.state}, {self.result}"

    @property
    def result(self) -> str:
        """The measured value and, if it differs, its limit; the reason if the check could not be run."""
        measured, limit = self.words or _short(self.measured), _short(self.limit)
        if self.state == "not checked" or measured == limit:
            return limit
        return f"{measured} ({self.id.bound} {limit})"

    def to_mapping(self) -> dict[str, Value]:
        """Return the check as it is stored in the report."""
        values = {"state": self.state, "measured": self.measured, "limit": self.limit}
        scope = {"scope": self.scope} if self.scope else {}
        return {"id": self.id.value, "title": self.id.title, **values, **scope, "result": self.result}


def check(check_id: CheckId, holds: bool, measured: Value, limit: Value, scope: str = "", words: str = "") -> Check:
    """Return the result of a check that was run."""
    return Check(check_id, "passed" if holds else "failed", measured, limit, scope, words)


def check_equal(check_id: CheckId, actual: str, expected: str) -> Check:
    """Return the result of comparing two texts."""
    return check(check_id, actual == expected, actual, expected)


def not_checked(check_id: CheckId, reason: str) -> Check:
    """Return the result of a check that could not be run."""
    return Check(check_id, "not checked", None, reason)


def failed_checks(checks: Iterable[Check]) -> tuple[Check, ...]:
    """Return the checks that failed."""
    return tuple(c for c in checks if c.state == "failed")


def _short(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
