"""The config of each command."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from deeplab.config.data import DataConfig
from deeplab.config.image_size import ImageSize
from deeplab.config.mapping import build, check_fields, check_list, require
from deeplab.config.model import ModelConfig
from deeplab.config.ranges import (
    NonNegativeInt,
    OutputStride,
    PositiveInt,
    Range,
    ScaleFactor,
    Seed,
    Side,
    Threads,
    UnitFloat,
)
from deeplab.config.training import TrainingConfig

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

PredictionFormat = Literal["overlays", "voc"]
"""The files that predict writes, see `deeplab.prediction.predict.run_prediction`."""

Fit = Literal["auto", "pad", "stretch"]
"""How an image meets a network of fixed input size, see `deeplab.prediction.image_fit.fit_image`."""


@dataclass(frozen=True)
class TrainConfig:
    """Settings of train.py.

    Attributes:
        run: the run folder; an interrupted run resumes from its last checkpoint.
        seed: seed of the initial weights, the order of the images, augmentation and dropout.
        model: the network; its number of classes is set by the data. Keys without `backbone` change single values of
            the network that `pretrained` describes (a run, or an official .tflite file), else of the default network.
        data: the images and masks to train on.
        training: the training recipe.
        pretrained: initial weights: a run folder, an official .tflite file, a checkpoint, an .h5 file, or "imagenet";
            null starts from random weights.
        first_stage: a preceding training in `first_stage/` of the run folder, whose weights this one starts from: the
            keys of `data` and `training` that differ (DeepLabv3, arXiv:1706.05587, sec. 4.1).
        allow_missing: accept pretrained weights that fill only a part of the backbone.
        check_data: check every image and mask, print the report, and do not train. Every training starts with a quick
            check.
        output_stride: output strides at which the result is evaluated.
        image_size: pad images to this size for evaluation; null takes data.eval_size.
    """

    run: str = "runs/demo"
    seed: Seed = 0
    model: dict[str, Any] | ModelConfig = field(default_factory=dict)
    data: DataConfig = field(default_factory=DataConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    pretrained: str | None = None
    first_stage: dict[str, Any] | None = None
    allow_missing: bool = False
    check_data: bool = False
    output_stride: tuple[OutputStride, ...] = (16, 8)
    image_size: ImageSize = None

    def __post_init__(self) -> None:
        """Raise UserError if a value is out of range."""
        check_fields(self)
        network = self.network
        if isinstance(self.model, dict) and "backbone" in self.model:
            object.__setattr__(self, "model", network)
        check_list("output_stride", self.output_stride, "output stride")

    @property
    def network(self) -> ModelConfig:
        """`model` as a config; keys that are not set have their defaults."""
        return self.model if isinstance(self.model, ModelConfig) else build(ModelConfig, self.model, "model")

    @property
    def eval_size(self) -> ImageSize:
        """The size that images are padded to for evaluation; None for their own size."""
        return self.data.eval_size if self.image_size is None else self.image_size


_LISTS = {
    "run": "run folder or .tflite file",
    "output_stride": "output stride",
    "multi_scale_strides": "output stride",
    "scales": "factor",
}
"""The lists of EvaluateConfig that must not be empty, and what they contain."""


@dataclass(frozen=True)
class EvaluateConfig:
    """Settings of evaluate.py: the table has one row per model, output stride and scale setting.

    Attributes:
        run: run folders and .tflite files, one or a list.
        out: folder of evaluation.json and evaluation.html; null is the first run's folder, or that of the .tflite file.
        output_stride: output strides, one or a list. null takes 16 and 8 for a run and evaluates a .tflite file as it
            is; with a value, an official .tflite file is also imported and evaluated in float at these strides.
        image_size: pad images to this size; null takes the eval_size of the data.
        fit: how images meet a .tflite file of another size: auto (pad, stretch larger ones), pad or stretch.
        data: keys of DataConfig: what to evaluate on. Without a source, they change single values of the data that the
            first run was trained on.
        scales: factors on the image size; other values than [1.0] add a row with probabilities averaged over them
            (DeepLabv3, arXiv:1706.05587, sec. 4.1: 0.5 to 1.75 by 0.25).
        flip: average that row over left-right flipped images too.
        multi_scale_strides: output strides of the multi-scale rows, which take long; null takes `output_stride`.
        multi_scale_images: number of images for the multi-scale rows, from the start; null takes all.
        trimap_widths: widths in pixels of the bands on both sides of borders (trimaps) in which mIoU is measured too
            (DeepLabv3+, arXiv:1802.02611, fig. 5); [] measures none.
        bootstrap_samples: number of bootstrap samples over images for the 95 % intervals; 0 computes none.
        example_images: number of best and of worst images that the page shows.
        threads: threads of the .tflite interpreter.
        seed: seed of the bootstrap and of drawn data.
    """

    run: str | tuple[str, ...]
    out: str | None = None
    output_stride: OutputStride | tuple[OutputStride, ...] | None = None
    image_size: ImageSize = None
    fit: Fit = "auto"
    data: dict[str, Any] | None = None
    scales: tuple[ScaleFactor, ...] = (1.0,)
    flip: bool = False
    multi_scale_strides: tuple[OutputStride, ...] | None = None
    multi_scale_images: PositiveInt | None = None
    trimap_widths: tuple[Annotated[int, Range("from 1 to 10,000", 1, 10_000)], ...] = (1, 2, 3, 5, 8, 12, 20, 30, 40)
    bootstrap_samples: Annotated[int, Range("from 0 to 1,000,000", 0, 1_000_000)] = 2000
    example_images: NonNegativeInt = 4
    threads: Threads = 2
    seed: Seed = 0

    def __post_init__(self) -> None:
        """Raise UserError if a value is out of range."""
        check_fields(self)
        for key, element in _LISTS.items():
            check_list(key, getattr(self, key), element)

    @property
    def runs(self) -> tuple[str, ...]:
        """`run` as a tuple."""
        return (self.run,) if isinstance(self.run, str) else self.run

    @property
    def output_strides(self) -> tuple[int, ...] | None:
        """`output_stride` as a tuple."""
        return (self.output_stride,) if isinstance(self.output_stride, int) else self.output_stride


@dataclass(frozen=True)
class PredictConfig:
    """Settings of predict.py.

    Attributes:
        run: a run folder or a .tflite file.
        images: an image, a video, a folder of them, a pattern ("a/*.jpg"), or a list of a VOCdevkit
            ("VOCdevkit/VOC2012/ImageSets/Segmentation/test.txt").
        out: folder for the results.
        format: overlays writes masks, overlays and shares.json; voc writes only an indexed NAME.png per image, as the
            test server of PASCAL VOC expects.
        output_stride: output stride of the network.
        image_size: pad images to this size. null takes the size at which the run was evaluated, at most that of a tile;
            larger images run at their own size.
        fit: how images meet a model of fixed size: auto (pad, stretch larger ones), pad or stretch.
        tile: side in pixels of the overlapping tiles that larger images are split into; null disables tiling.
        overlap: minimum overlap of neighboring tiles in pixels.
        opacity: opacity of the class colors in the overlay, 0..1.
        threads: threads of the .tflite interpreter.
    """

    run: str
    images: str
    out: str = "predictions"
    format: PredictionFormat = "overlays"
    output_stride: OutputStride = 16
    image_size: ImageSize = None
    fit: Fit = "auto"
    tile: Side | None = None
    overlap: NonNegativeInt = 64
    opacity: UnitFloat = 0.5
    threads: Threads = 2

    def __post_init__(self) -> None:
        """Raise UserError if a value is out of range."""
        check_fields(self)
        if self.tile is not None:
            require("tile", self.tile, self.tile > self.overlap, f"more than overlap={self.overlap}")


@dataclass(frozen=True)
class ExportConfig:
    """Settings of export.py.

    Attributes:
        run: a run folder, or an official .tflite file, which is imported first.
        out: the .tflite file to write; its report is written next to it. Several quantizations add their names. null
            writes QUANTIZATION.tflite, or TARGET.tflite, into the run folder; required when `run` is a .tflite file.
        target: the app, delegate or browser that the file is for. It sets quantization, dtypes, output, mask_stride and
            image_size; a setting given by hand must not contradict it. "list" prints all targets.
        seed: seed of the choice of calibration images.
        output_stride: output stride of the exported network: 8, 16 or 32.
        image_size: input size of the file in pixels. null takes the evaluation size of the run, else its crop size, or
            the input size of `run` if that is a .tflite file.
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
        per_tensor: one scale for each kernel of the int8 and int16x8 files instead of one per output channel, for NPUs
            that refuse per-channel kernels. The report states the mIoU that it costs. A run trained with
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


@dataclass(frozen=True)
class TargetListConfig:
    """Settings of export.py target=list, which prints the targets of an export.

    Attributes:
        target: "list".
    """

    target: str


@dataclass(frozen=True)
class SummarizeConfig:
    """Settings of summarize.py, which prints the parameters and multiply-adds of a network.

    Attributes:
        model: the network.
        output_stride: input pixels per feature of the encoder.
        image_size: input size in pixels.
        every_layer: print a line for every layer, not only for those with a kernel.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    output_stride: OutputStride = 16
    image_size: Side | tuple[Side, Side] = 513
    every_layer: bool = False

    def __post_init__(self) -> None:
        """Raise UserError if a value is out of range."""
        check_fields(self)
