"""The configs of export: of an export, of verify, inspect and page, and of the list of targets."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from deeplab.config.image_size import Fit, ImageSize
from deeplab.config.mapping import check_fields, check_list, require
from deeplab.config.ranges import NonNegativeInt, OutputStride, PositiveInt, Range, Seed, Threads

Quantization = Literal["float32", "float16", "dynamic", "int8", "int16x8"]
"""How a .tflite file stores weights and computes, see `deeplab.conversion.convert.convert`."""

ExportOutput = Literal["logits", "probabilities", "labels"]
"""What a .tflite file returns for each pixel: scores before the softmax, scores after it, or the class id."""

IoType = Literal["float32", "uint8", "int8", "int16"]
"""Dtype of the input or the output of a .tflite file."""

IO_TYPES: dict[Quantization, tuple[IoType, ...]] = {
    "float32": ("float32",),
    "float16": ("float32",),
    "dynamic": ("float32",),
    "int8": ("uint8", "int8", "float32"),
    "int16x8": ("float32", "int16"),
}
"""The dtypes that input and output of a file can have, by quantization; the first is the default."""


@dataclass(frozen=True)
class ExportConfig:
    """Settings of export.py.

    Attributes:
        run: a run folder, an official .tflite file or the name of one (official, official_050, starter), which is
            imported first.
        out: the .tflite file to write; its report is written next to it. Several quantizations add their names. null
            writes QUANTIZATION.tflite, or TARGET.tflite, into the run folder; settings that shape the file and are not
            the usual ones are added to the name, as in int8_per_tensor.tflite. Required when `run` is a .tflite file.
        target: the app, delegate or browser that the file is for. It sets quantization, dtypes, output, mask_stride and
            image_size; a setting given by hand must not contradict it. "list" prints all targets.
        seed: seed of the choice of calibration images.
        output_stride: output stride of the exported network: 4, 8, 16 or 32.
        image_size: input size of the file in pixels. null takes the evaluation size of the run (data.image_size with
            data.resize), or that of its validation images if they are evaluated at their own size (docs/export.md), or
            the input size of `run` if that is a .tflite file.
        fit: how images meet the file, in its calibration and its checks: auto (as in the training with data.resize;
            else pad, and stretch larger images), pad, letterbox or stretch. The file states it, so that evaluate.py,
            predict.py and its page fit images in the same way.
        quantization: float32, float16, dynamic, int8 or int16x8; a list exports several and compares them.
        output: what the file returns for each pixel: logits, probabilities or labels (class ids; neither the Task
            Library nor MediaPipe accepts them).
        mask_stride: image pixels per mask pixel. 1 is full size; 4 (or the output stride) is faster on the device, and
            the client enlarges the mask.
        input_type: input dtype of a quantized file; null is uint8 for int8, else float32.
        output_type: output dtype of a quantized file; null is uint8 for int8, else float32.
        float_layers: Keras layers of an int8 file that stay in float; `*` matches any characters
            (benchmarks/export_layers.py finds the layers that matter).
        keep_ranges: for an int8 file made from a quantized .tflite file: keep its activation ranges and weights instead
            of calibrating.
        correct_biases: correct the biases of calibrated files (int8, int16x8) for the mean rounding error of the
            weights.
        per_tensor: one scale for each kernel of the int8 file instead of one per output channel, for NPUs that refuse
            per-channel kernels. The report states the mIoU that it costs. A run trained with
            training.quantization.per_tensor=true is always exported so.
        equalize: equalize the channels of the kernels before a calibrated per-tensor conversion (arXiv:1906.04721, sec.
            4.1), which keeps the function of the network.
        max_miou_drop: maximum loss of mIoU against the Keras model in points (0..100).
        calibration_images: number of training images that calibrate int8 and int16x8.
        agreement_images: number of validation images that are compared pixel by pixel.
        miou_images: number of validation images on which the mIoU drop is measured; 0 skips this check, and the report
            says so.
        threads: threads of the .tflite interpreter.
        data: keys of DataConfig that replace those of the run's training.
        page: also write a page next to each file that runs it in a browser (export.py page=FILE has further settings).
    """

    run: str
    out: str | None = None
    target: str | None = None
    seed: Seed = 0
    output_stride: OutputStride = 16
    image_size: ImageSize = None
    fit: Fit = "auto"
    quantization: Quantization | tuple[Quantization, ...] = "int8"
    output: ExportOutput = "logits"
    mask_stride: PositiveInt = 1
    input_type: IoType | None = None
    output_type: IoType | None = None
    float_layers: tuple[str, ...] = ()
    keep_ranges: bool = True
    correct_biases: bool = True
    per_tensor: bool = False
    equalize: bool = True
    max_miou_drop: Annotated[float, Range("from 0 to 100", 0, 100)] = 1.5
    calibration_images: PositiveInt = 16
    agreement_images: PositiveInt = 4
    miou_images: NonNegativeInt = 50
    threads: Threads = 2
    data: dict[str, Any] | None = None
    page: bool = False

    def __post_init__(self) -> None:
        """Raise UserError if a value is out of range."""
        check_fields(self)
        check_list("quantization", self.quantization, "quantization")
        for key in ("input_type", "output_type"):
            for quantization in self.quantizations:
                value, known = getattr(self, key), IO_TYPES[quantization]
                expected = f"{' or '.join(known)} with quantization={quantization}"
                require(key, value, value is None or value in known, expected)
        if self.output == "labels":
            require(
                "output_type", self.output_type, self.output_type is None, "null with output=labels, which is int32"
            )
        if self.page:
            for key in ("input_type", "output_type"):
                value = getattr(self, key)
                require(key, value, value in (None, "uint8", "float32"), "uint8 or float32, which page=true can run")

    @property
    def quantizations(self) -> tuple[Quantization, ...]:
        """`quantization` as a tuple."""
        return self.quantization if isinstance(self.quantization, tuple) else (self.quantization,)


@dataclass(frozen=True)
class VerifyConfig:
    """Settings of export.py verify=FILE, which checks an existing .tflite file.

    Attributes:
        verify: the .tflite file to check.
        run: the run folder, or the official .tflite file, that the file must agree with; null checks the file alone.
        max_miou_drop: maximum loss of mIoU against the Keras model in points (0..100).
        agreement_images: number of validation images that are compared pixel by pixel.
        miou_images: number of validation images on which the mIoU drop is measured; 0 skips this check.
        output_stride: output stride of the Keras model, if the file does not state its own.
        threads: threads of the .tflite interpreter.
        data: keys of DataConfig that replace those of the run's training.
        seed: seed of drawn data.
    """

    verify: str
    run: str | None = None
    max_miou_drop: Annotated[float, Range("from 0 to 100", 0, 100)] = 1.5
    agreement_images: PositiveInt = 4
    miou_images: NonNegativeInt = 50
    output_stride: OutputStride = 16
    threads: Threads = 2
    data: dict[str, Any] | None = None
    seed: Seed = 0

    def __post_init__(self) -> None:
        """Raise UserError if a value is out of range."""
        check_fields(self)


@dataclass(frozen=True)
class InspectConfig:
    """Settings of export.py inspect=FILE, which prints what a .tflite file contains, what opens it, and its delegates.

    Attributes:
        inspect: the .tflite file.
    """

    inspect: str

    def __post_init__(self) -> None:
        """Raise UserError if a value is out of range."""
        check_fields(self)


@dataclass(frozen=True)
class TargetListConfig:
    """Settings of export.py target=list, which prints the targets of an export.

    Attributes:
        target: "list".
    """

    target: str

    def __post_init__(self) -> None:
        """Raise UserError if a value is out of range."""
        check_fields(self)


@dataclass(frozen=True)
class PageConfig:
    """Settings of export.py page=FILE, which writes one HTML file that runs a .tflite file in a browser.

    Attributes:
        page: the .tflite file.
        out: the .html file to write; null is FILE.html next to FILE.tflite.
        fit: how images meet a file of another input size, as in predict.py: auto (as the file states, else pad, and
            stretch larger ones), pad, letterbox or stretch.
        example: an image that the page contains and shows first; null is none, or a drawn scene for a file with the
            classes of the built-in demo.
    """

    page: str
    out: str | None = None
    fit: Fit = "auto"
    example: str | None = None

    def __post_init__(self) -> None:
        """Raise UserError if a value is out of range."""
        check_fields(self)
