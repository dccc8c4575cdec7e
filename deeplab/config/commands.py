"""The configs of train, evaluate, predict and summarize; those of export are in export.py."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from deeplab.config.data import DataConfig
from deeplab.config.image_size import Fit, ImageSize, fixed_height_width
from deeplab.config.mapping import build, check_fields, check_list, require
from deeplab.config.model import SINGLE_CLASSIFIER_HEADS, ModelConfig
from deeplab.config.pruning import PruneConfig
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
from deeplab.errors import UserError

PredictionFormat = Literal["overlays", "voc"]
"""The files that predict writes, see `deeplab.prediction.predict.run_prediction`."""


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
        pretrained: initial weights: a run folder, an official .tflite file, a checkpoint, an .h5 file, "imagenet", or a
            name of published DeepLab weights that are downloaded once: official (MobileNetV2, VOC), official_050 (depth
            multiplier 0.5) or starter (float, 0.5). null starts from random weights.
        prune: removes channels of the pretrained network, a run folder or a .tflite file, before the training starts.
            The result is `pruned/` in the run folder, a run folder without a training.
        first_stage: a preceding training in `first_stage/` of the run folder, whose weights this one starts from: the
            keys of `data` and `training` that differ (DeepLabv3, arXiv:1706.05587, sec. 4.1).
        allow_missing: accept pretrained weights that fill only a part of the backbone.
        check_data: check every image and mask, print the report, and do not train. Every training starts with a quick
            check.
        plan: true prints the plan of the training, and does not train. null makes and follows a plan for data=folder
            and data=tfds without an experiment: settings that are not given by hand follow from the data and the speed
            of the machine. false takes the settings as they are, by default the published recipe.
        minutes: time that a planned training may take, on this machine as busy as it is.
        output_stride: output strides at which the result is evaluated.
        image_size: pad images to this size for evaluation; null takes data.eval_size. With data.resize the size is
            data.image_size.
    """

    run: str = "runs/demo"
    seed: Seed = 0
    model: dict[str, Any] | ModelConfig = field(default_factory=dict)
    data: DataConfig = field(default_factory=DataConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    pretrained: str | None = None
    prune: PruneConfig = field(default_factory=PruneConfig)
    first_stage: dict[str, Any] | None = None
    allow_missing: bool = False
    check_data: bool = False
    plan: bool | None = None
    minutes: Annotated[float, Range("above 0 and at most 100,000", 0, 100_000, open_low=True)] = 30.0
    output_stride: tuple[OutputStride, ...] = (16, 8)
    image_size: ImageSize = None

    def __post_init__(self) -> None:
        """Raise UserError if a value is out of range."""
        check_fields(self)
        network = self.network
        if isinstance(self.model, dict) and "backbone" in self.model:
            object.__setattr__(self, "model", network)
        check_list("output_stride", self.output_stride, "output stride")
        images, head = self.training.linear_probe_images, network.head
        fits = not images or head in SINGLE_CLASSIFIER_HEADS
        require("training.linear_probe_images", images, fits, f"0 with model.head={head}")
        if self.prune.enabled:
            require("pretrained", self.pretrained, self.pretrained is not None, "a trained network with prune")
            require("first_stage", self.first_stage, self.first_stage is None, "null with prune")
        if self.data.unlabelled is not None:
            teacher, ignored = self.training.distillation.teacher, self.training.distillation.ignored_pixels
            if teacher is None:
                problem = "images without masks need a teacher"
                raise UserError("data.unlabelled", problem, "add training.distillation.teacher=RUN, or leave it out")
            require("training.distillation.ignored_pixels", ignored, ignored, "true with data.unlabelled")
        if self.data.resize != "none":
            same = self.image_size is None or fixed_height_width(self.image_size) == fixed_height_width(self.eval_size)
            expected = f"null or data.image_size={self.data.image_size} with data.resize={self.data.resize}"
            require("image_size", self.image_size, same, expected)

    @property
    def network(self) -> ModelConfig:
        """`model` as a config; keys that are not set have their defaults."""
        return self.model if isinstance(self.model, ModelConfig) else build(ModelConfig, self.model, "model")

    @property
    def eval_size(self) -> ImageSize:
        """The size that images are fitted to for evaluation, see `DataConfig.fit`; None for their own size."""
        if self.data.resize != "none":
            return self.data.image_size
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
        run: run folders, .tflite files and names of published weights (official, ...), one or a list.
        out: folder of evaluation.json and evaluation.html; null is the first run's folder, or that of the .tflite file
            (runs/NAME for published weights).
        output_stride: output strides, one or a list. null takes 16 and 8 for a run and evaluates a .tflite file as it
            is; with a value, an official .tflite file is also imported and evaluated in float at these strides.
        image_size: fit images to this size; null takes that of the training, or the eval_size of other data.
        fit: how images meet this size, or that of a .tflite file: auto (as in the training with data.resize; else pad,
            and stretch images that a .tflite file is too small for), pad, letterbox (scale with the aspect kept, then
            pad) or stretch. Masks return to the original size, and the labels are the original ones.
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
        run: a run folder, a .tflite file, or a name of published weights (official, official_050, starter).
        images: an image, a video, a folder of them, a pattern ("a/*.jpg"), or a list of a VOCdevkit
            ("VOCdevkit/VOC2012/ImageSets/Segmentation/test.txt").
        out: folder for the results.
        format: overlays writes masks, overlays and shares.json; voc writes only an indexed NAME.png per image, as the
            test server of PASCAL VOC expects.
        output_stride: output stride of the network.
        image_size: fit images to this size. null takes the size at which the run was evaluated, at most `tile`;
            larger images that are only padded run at their own size.
        fit: how images meet this size, or that of a .tflite file: auto (as in the training with data.resize; else pad,
            and stretch images that a .tflite file is too small for), pad, letterbox (scale with the aspect kept, then
            pad) or stretch.
        tile: split larger images into overlapping square tiles of this side in pixels, predict each at full resolution,
            and join the masks; null predicts whole images.
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
class SummarizeConfig:
    """Settings of summarize.py, which prints the parameters and multiply-adds of a network.

    Attributes:
        run: a run folder, whose network is summarized; null takes `model`.
        model: the network.
        output_stride: input pixels per feature of the encoder.
        image_size: input size in pixels.
        every_layer: print a line for every layer, not only for those with a kernel.
    """

    run: str | None = None
    model: ModelConfig = field(default_factory=ModelConfig)
    output_stride: OutputStride = 16
    image_size: Side | tuple[Side, Side] = 513
    every_layer: bool = False

    def __post_init__(self) -> None:
        """Raise UserError if a value is out of range."""
        check_fields(self)
