"""What each command does."""

from dataclasses import dataclass, field
from typing import Any, Literal

from deeplab.config.image_size import ImageSize
from deeplab.config.mapping import require
from deeplab.config.model import ModelConfig
from deeplab.config.training import DataConfig, TrainingConfig
from deeplab.errors import UserError

Quantization = Literal["float32", "float16", "dynamic", "int8", "int16x8"]
"""How a .tflite file stores and computes, see `deeplab.conversion.convert.convert`."""

ExportOutput = Literal["logits", "probabilities", "labels"]
"""What a .tflite file gives for each pixel: scores before the softmax, behind it, or the class id."""

Ends = Literal["float32", "uint8", "int8", "int16"]
"""The type of a .tflite file's input or output."""


@dataclass(frozen=True)
class EvaluateConfig:
    """What evaluate.py measures: one row of the table for each model, output stride, and scale setting.

    Attributes:
        run: run folders and .tflite files.
        out: folder of evaluation.json and evaluation.html; None is the first run's own, or that of the .tflite file.
        output_stride: at which to run the networks. None takes 16 and 8 for a run, and a .tflite file as it is;
            strides given add the network inside an official .tflite file, in float, at each of them.
        image_size: pictures are padded to this size; None takes the `eval_size` of the data.
        fit: how pictures meet a .tflite file of another size: "auto" pads, or stretches those that are too large.
        data: keys of DataConfig: what to measure on. Without a source they change single values of the data that the
            first run was trained on.
        scales: factors on the picture's size; other than (1.0,) adds a row with the probabilities averaged over them
            (DeepLabv3, arXiv:1706.05587, sec. 4.1: 0.5 to 1.75 by 0.25).
        flip: whether that row averages over left-right flipped pictures too.
        multi_scale_strides: output strides of such rows, which take long; None takes those of `output_stride`.
        multi_scale_pictures: how many pictures, the first, rows of several scales are measured on; None takes all.
        trimaps: widths in pixels of the bands around borders to measure in (DeepLabv3+, arXiv:1802.02611, fig. 5).
        resamples: of the bootstrap over pictures behind the 95 % intervals; 0 makes none.
        pictures: how many of the best and of the worst pictures the page shows.
        threads: of the .tflite interpreter.
        seed: of the bootstrap, and of drawn data.
    """

    run: str | tuple[str, ...]
    out: str | None = None
    output_stride: int | tuple[int, ...] | None = None
    image_size: ImageSize = None
    fit: Literal["auto", "pad", "resize"] = "auto"
    data: dict[str, Any] | None = None
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    multi_scale_strides: tuple[int, ...] | None = None
    multi_scale_pictures: int | None = None
    trimaps: tuple[int, ...] = (1, 2, 3, 5, 8, 12, 20, 30, 40)
    resamples: int = 2000
    pictures: int = 4
    threads: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises UserError where a value is out of range."""
        require("run", self.run, len(self.run) > 0, "a run folder or a .tflite file")
        require("scales", self.scales, bool(self.scales) and min(self.scales) > 0, "factors above 0")
        require("trimaps", self.trimaps, min(self.trimaps, default=1) > 0, "widths above 0")
        for name in ("resamples", "pictures"):
            require(name, getattr(self, name), getattr(self, name) >= 0, "at least 0")


@dataclass(frozen=True)
class PredictConfig:
    """What predict.py labels, with which model, and where the masks go.

    Attributes:
        run: a run folder or a .tflite file.
        images: a picture, a video, a folder of them, or a pattern (a/*.jpg).
        out: folder for the masks.
        output_stride: at which to run the network.
        image_size: pictures are padded to this size; None runs each at its own.
        fit: how pictures meet a model of fixed size: "auto" pads, or stretches those that are too large.
        tile: side of overlapping tiles in pixels that a larger picture is cut into; None cuts none.
        overlap: of neighbouring tiles, in pixels.
        opacity: of the colours in the overlay, 0..1.
        threads: of the .tflite interpreter.
    """

    run: str
    images: str
    out: str = "predictions"
    output_stride: int = 16
    image_size: ImageSize = None
    fit: Literal["auto", "pad", "resize"] = "auto"
    tile: int | None = None
    overlap: int = 64
    opacity: float = 0.5
    threads: int = 2

    def __post_init__(self) -> None:
        """Raises UserError where a value is out of range."""
        require("opacity", self.opacity, 0 <= self.opacity <= 1, "from 0 to 1")
        require("overlap", self.overlap, self.overlap >= 0, "at least 0")
        if self.tile is not None:
            require("tile", self.tile, self.tile > self.overlap, f"above the overlap of {self.overlap}")


@dataclass(frozen=True)
class ExportConfig:
    """What export.py makes, or looks at.

    Attributes:
        run: a run folder, or an official .tflite file, which is imported first. With `verify` it is what the file must
            agree with.
        out: the .tflite file; its report goes beside it. Several quantizations add their names to it. None puts
            NAME.tflite into the run folder, NAME being the quantization.
        seed: of the choice of calibration pictures.
        output_stride: of the network in the file: 8, 16 or 32.
        image_size: of the file's input in pixels. None is the size at which the training was measured, its crop size if
            that was each picture's own, or the size of `run`'s input where that is a .tflite file.
        quantization: one, or several to be compared in a table.
        output: what the file gives for each pixel. The Task Library and MediaPipe do not take labels.
        mask_stride: pixels of the image for each pixel of the output: 1 is full size; 4 (or the output stride) is less
            work for the device, and the client enlarges the mask.
        input_type, output_type: of the ends of a quantized file; None is uint8 for int8, float32 for the others.
        float_layers: Keras layers of an int8 file that stay float, `*` standing for any letters;
            benchmarks/export_layers.py tells which of them would help.
        keep_ranges: whether an int8 file that is made from a quantized .tflite file keeps the ranges and the steps that
            are in it, instead of calibrated ones.
        correct_biases: whether the biases of calibrated files (int8 and int16x8) make up for what the rounding of their
            kernels adds on average.
        max_miou_drop: how many points of mIoU (0..100) the file may lose against the Keras model.
        calibration_pictures: how many training pictures set the ranges of int8 and int16x8.
        agreement_pictures: how many validation pictures are compared pixel by pixel.
        miou_pictures: how many validation pictures the mIoU is measured on; 0 measures none, and the report says so.
        threads: of the interpreter.
        data: keys of DataConfig, by which the pictures differ from those of the run's training.
        inspect: a .tflite file to describe; nothing is exported.
        verify: a .tflite file to check; nothing is exported.
    """

    run: str | None = None
    out: str | None = None
    seed: int = 0
    output_stride: int = 16
    image_size: ImageSize = None
    quantization: Quantization | tuple[Quantization, ...] = "int8"
    output: ExportOutput = "logits"
    mask_stride: int = 1
    input_type: Ends | None = None
    output_type: Ends | None = None
    float_layers: tuple[str, ...] = ()
    keep_ranges: bool = True
    correct_biases: bool = True
    max_miou_drop: float = 1.5
    calibration_pictures: int = 16
    agreement_pictures: int = 4
    miou_pictures: int = 50
    threads: int = 2
    data: dict[str, Any] | None = None
    inspect: str | None = None
    verify: str | None = None

    def __post_init__(self) -> None:
        """Raises UserError where a value is out of range."""
        require("max_miou_drop", self.max_miou_drop, self.max_miou_drop >= 0, "at least 0, in points")
        for name in ("calibration_pictures", "agreement_pictures", "threads"):
            require(name, getattr(self, name), getattr(self, name) > 0, "above 0")
        require("miou_pictures", self.miou_pictures, self.miou_pictures >= 0, "at least 0")
        if self.run is None and self.inspect is None and self.verify is None:
            raise UserError("run", "a value is needed", "set it with run=FOLDER, or use inspect=FILE or verify=FILE")


@dataclass(frozen=True)
class TrainConfig:
    """What train.py does.

    Attributes:
        run: the run folder; one that is there already is gone on with.
        seed: of the weights, the order of pictures, the augmentation and the dropout.
        model: the network; its number of classes is that of the data.
        data: what it learns from.
        training: how it learns.
        pretrained: weights to start from: a run folder, an official .tflite file, a checkpoint or .h5 file, or
            "imagenet"; None starts from random ones.
        first_stage: a training that comes first, in `first_stage/` of the run folder, and whose weights this one starts
            from: the keys of `data` and `training` by which it differs (DeepLabv3, arXiv:1706.05587, sec. 4.1).
        allow_missing: whether weights that do not fill the whole backbone will do.
        check_data: look at every picture and mask, report, and do not train. Every training begins with a quick look.
        output_stride: strides at which the result is measured.
        image_size: pictures are padded to this size to be measured; None takes `data.eval_size`.
    """

    run: str = "runs/demo"
    seed: int = 0
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    pretrained: str | None = None
    first_stage: dict[str, Any] | None = None
    allow_missing: bool = False
    check_data: bool = False
    output_stride: tuple[int, ...] = (16, 8)
    image_size: ImageSize = None

    @property
    def eval_size(self) -> ImageSize:
        """The size that pictures are padded to when the result is measured; None for their own."""
        return self.data.eval_size if self.image_size is None else self.image_size


@dataclass(frozen=True)
class SummarizeConfig:
    """Settings of `summarize.py`, which prints what a network costs.

    Attributes:
        model: the network.
        output_stride: input pixels per feature of the encoder.
        image_size: in pixels.
        every_layer: a line for every layer; otherwise for those with a kernel.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    output_stride: int = 16
    image_size: int | tuple[int, int] = 513
    every_layer: bool = False
