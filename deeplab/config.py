"""Every setting of the toolkit, as frozen dataclasses, and `build`, which makes them from plain mappings.

Each default has its one home here; the YAML files under configs/ hold only what differs from it.
"""

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from deeplab.errors import UserError

T = TypeVar("T")
ImageSize = int | tuple[int, int] | None
"""One side of a square, (height, width), or None for any size. Pixels."""

Quantization = Literal["float32", "float16", "dynamic", "int8", "int16x8"]
"""How a .tflite file stores and computes, see `deeplab.export.convert.convert`."""

ExportOutput = Literal["logits", "probabilities", "labels"]
"""What a .tflite file gives for each pixel: scores before the softmax, behind it, or the class id."""

Ends = Literal["float32", "uint8", "int8", "int16"]
"""The type of a .tflite file's input or output."""


@dataclass(frozen=True)
class ModelConfig:
    """What fixes the weights of a network. The output stride does not, so it is no field of it.

    Attributes:
        backbone: the feature extractor, a name of deeplab.model.backbones.BACKBONES: mobilenet_v2, mobilenet_v3_large,
            mobilenet_v3_small, resnet50, resnet101 (and resnet50_beta, resnet101_beta, whose stem is three 3x3),
            xception41, xception65, xception71.
        depth_multiplier: factor on the backbone's channels, > 0.
        round_channels: round those channels to multiples of 8 as keras.applications does; the official DeepLab
            models with multiplier 0.5 do not (12 stays 12).
        reduced_tail: MobileNetV3's segmentation variant, whose last block has half the channels (arXiv:1905.02244,
            sec. 6.4); ImageNet weights for the whole network do not fit it.
        multi_grid: ResNet's three rates within its last block, times the rate that the output stride asks for (DeepLabv3,
            arXiv:1706.05587, sec. 3.2.1); (1, 1, 1) is the network that learnt ImageNet.
        head: "v1" is LargeFOV (DeepLabv1, arXiv:1412.7062); "v2" sums branches of several rates (DeepLabv2,
            arXiv:1606.00915, sec. 3.2); "v3" is ASPP and logits (DeepLabv3, arXiv:1706.05587, sec. 3.3); "v3plus" adds
            the decoder (DeepLabv3+, arXiv:1802.02611, sec. 3.1); "lraspp" is Lite R-ASPP (MobileNetV3, arXiv:1905.02244,
            sec. 6.4).
        aspp_rates: atrous rates of the head, as meant at output stride 16 (DeepLabv1 and v2 print theirs for 8, twice as
            large). "v1" has one, "v2" one for each branch, "lraspp" asks for none; in "v3" and "v3plus" () leaves image
            pooling and the 1x1 branch, the official mobile head.
        aspp_separable: whether the atrous branches of "v3" and "v3plus" are depthwise separable.
        aspp_channels: channels of each branch of the head and of its projection.
        image_pooling: whether ASPP has the image-level features ("v3", "v3plus").
        low_level_channels: channels of the decoder's projection of the low-level features.
        decoder_channels: channels of the decoder's two 3x3 convolutions.
        decoder_separable: whether those are depthwise separable.
        dropout: rate behind ASPP's projection, and behind both hidden layers of "v1" and "v2"; 0 <= dropout < 1.
        classes: number of classes, background included, 2..256.
        batch_norm_momentum: None takes the papers' value for each part (0.9997 in ASPP and decoder, 0.997 in
            MobileNetV2), which need ten thousands of steps to settle; short trainings want about 0.9.
    """

    backbone: str = "mobilenet_v2"
    depth_multiplier: float = 1.0
    round_channels: bool = False
    reduced_tail: bool = False
    multi_grid: tuple[int, int, int] = (1, 2, 4)
    head: Literal["v1", "v2", "v3", "v3plus", "lraspp"] = "v3plus"
    aspp_rates: tuple[int, ...] = (6, 12, 18)
    aspp_separable: bool = True
    aspp_channels: int = 256
    image_pooling: bool = True
    low_level_channels: int = 48
    decoder_channels: int = 256
    decoder_separable: bool = True
    dropout: float = 0.1
    classes: int = 21
    batch_norm_momentum: float | None = None

    def __post_init__(self) -> None:
        """Raises UserError where a value is out of range."""
        _require("model.depth_multiplier", self.depth_multiplier, self.depth_multiplier > 0, "above 0")
        _require("model.classes", self.classes, 2 <= self.classes <= 256, "from 2 to 256")
        _require("model.dropout", self.dropout, 0 <= self.dropout < 1, "at least 0 and below 1")
        _require("model.aspp_rates", self.aspp_rates, all(r > 0 for r in self.aspp_rates), "positive rates")
        _require("model.multi_grid", self.multi_grid, all(r > 0 for r in self.multi_grid), "positive rates")
        wanted = {"v1": len(self.aspp_rates) == 1, "v2": len(self.aspp_rates) > 0}.get(self.head, True)
        number = "one rate, such as [6]," if self.head == "v1" else "a rate for each branch"
        _require("model.aspp_rates", self.aspp_rates, wanted, f"{number} with head {self.head}")
        for name in ("aspp_channels", "low_level_channels", "decoder_channels"):
            _require(f"model.{name}", getattr(self, name), getattr(self, name) > 0, "above 0")


@dataclass(frozen=True)
class DataConfig:
    """Where pictures and masks come from.

    Attributes:
        source: "shapes" (drawn scenes, built in), "voc" (a VOCdevkit folder), "folder" (images/ and masks/) or "tfds"
            (a set of TensorFlow Datasets that carries masks).
        root: folder of the data on disk; for "tfds" that of its prepared sets, None is TFDS's own; none for "shapes".
        name: name of the data set within `root` or in a catalogue: for "voc" the year's folder, VOC2012 by default; for
            "tfds" the name, with the config where there are several ("cityscapes/semantic_segmentation").
        classes: names of the classes, background first; None takes the source's own (classes.txt of a folder).
        train_split: name of the split to train on.
        val_split: name of the split to measure on.
        val_size: how many pictures of the validation split to use; None takes all (64 of an endless source).
        val_fraction: share of a folder's pictures that is kept for validation where neither list files nor sub-folders
            name the splits; which ones is fixed by `split_seed`.
        split_seed: see `val_fraction`.
        label_ids: value in the masks of each class in turn; every other value is ignored. [0, 255] for masks of black
            and white, [2, 1] for the pets. None: the values are the class ids. For "folder" and "tfds".
        colours: YAML file with a colour (red, green, blue) for each class by name, for colour masks in a folder.
        mask_suffix: what the masks of a folder carry behind the picture's name ("_L" in CamVid).
        image_feature: name of the picture among the features of a "tfds" set.
        label_feature: name of the mask among the features of a "tfds" set.
        sbd: folder of the Semantic Boundaries Dataset (its `dataset` folder, or one of PNG masks), for the split
            train_aug of "voc".
        prepared: folder that "voc" is copied into once as TFRecord files and read from after that; None reads the files
            of the devkit themselves.
        cache: "memory", or a folder, to keep decoded pictures in; None decodes each time.
        on_unreadable: whether a picture that cannot be used stops the training or is skipped, counted and named.
        eval_size: pictures are padded, never scaled, to this size to be measured, as the published protocol of the set
            has it (513 for VOC); None measures each picture at its own size.
    """

    source: Literal["shapes", "voc", "folder", "tfds"] = "shapes"
    root: str | None = None
    name: str | None = None
    classes: tuple[str, ...] | None = None
    train_split: str = "train"
    val_split: str = "val"
    val_size: int | None = None
    val_fraction: float = 0.2
    split_seed: int = 0
    label_ids: tuple[int, ...] | None = None
    colours: str | None = None
    mask_suffix: str = ""
    image_feature: str = "image"
    label_feature: str = "segmentation_mask"
    sbd: str | None = None
    prepared: str | None = None
    cache: str | None = None
    on_unreadable: Literal["stop", "skip"] = "stop"
    eval_size: ImageSize = None


@dataclass(frozen=True)
class AugmentConfig:
    """The official augmentation (tensorflow/models research/deeplab, input_preprocess.py).

    Attributes:
        min_scale, max_scale, scale_step: the scale is drawn from {min, min + step, ..., max}; a step of 0 draws from
            the whole interval.
        flip: probability of a left-right flip.
        rotation: the largest turn to either side, degrees; corners are padded and ignored. Not official, hence 0.
        brightness, contrast, saturation: each factor is drawn from 1 - v to 1 + v. Not official, hence 0.
    """

    min_scale: float = 0.5
    max_scale: float = 2.0
    scale_step: float = 0.25
    flip: float = 0.5
    rotation: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0

    def __post_init__(self) -> None:
        """Raises UserError where a value is out of range."""
        _require("training.augment.min_scale", self.min_scale, 0 < self.min_scale <= self.max_scale, "0 < min <= max")
        _require("training.augment.scale_step", self.scale_step, self.scale_step >= 0, "at least 0")
        _require("training.augment.flip", self.flip, 0 <= self.flip <= 1, "a probability")
        _require("training.augment.rotation", self.rotation, 0 <= self.rotation <= 180, "from 0 to 180 degrees")
        for name in ("brightness", "contrast", "saturation"):
            value = getattr(self, name)
            _require(f"training.augment.{name}", value, 0 <= value < 1, "at least 0 and below 1")


@dataclass(frozen=True)
class TrainingConfig:
    """The published recipe (numbers of tensorflow/models research/deeplab, train.py).

    Attributes:
        steps: number of updates.
        batch_size: pictures an update, over all replicas.
        crop_size: side of the training crop in pixels; 32k+1 wastes nothing.
        output_stride: at which the network is trained.
        learning_rate: at the start; decays by the "poly" rule lr * (1 - step / steps) ** power.
        power: of the poly rule.
        momentum: of SGD, without Nesterov.
        weight_decay: factor wd of wd/2 * sum(w^2), over the kernels of convolutions (not depthwise, biases or norms).
        batch_norm: "train", or "frozen": statistics, gamma and beta stay as loaded.
        augment: the augmentation.
        save_every: steps between two saved states.
        log_every: steps between two lines of log.csv and TensorBoard.
        pictures: how many validation pictures TensorBoard shows.
    """

    steps: int = 30_000
    batch_size: int = 16
    crop_size: int = 513
    output_stride: int = 16
    learning_rate: float = 0.007
    power: float = 0.9
    momentum: float = 0.9
    weight_decay: float = 4e-5
    batch_norm: Literal["train", "frozen"] = "train"
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    save_every: int = 500
    log_every: int = 10
    pictures: int = 4

    def __post_init__(self) -> None:
        """Raises UserError where a value is out of range."""
        for name in ("steps", "batch_size", "crop_size", "save_every", "log_every"):
            _require(f"training.{name}", getattr(self, name), getattr(self, name) > 0, "above 0")
        _require("training.learning_rate", self.learning_rate, self.learning_rate > 0, "above 0")
        _require("training.weight_decay", self.weight_decay, self.weight_decay >= 0, "at least 0")


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
        _require("run", self.run, len(self.run) > 0, "a run folder or a .tflite file")
        _require("scales", self.scales, bool(self.scales) and min(self.scales) > 0, "factors above 0")
        _require("trimaps", self.trimaps, min(self.trimaps, default=1) > 0, "widths above 0")
        for name in ("resamples", "pictures"):
            _require(name, getattr(self, name), getattr(self, name) >= 0, "at least 0")


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
        _require("opacity", self.opacity, 0 <= self.opacity <= 1, "from 0 to 1")
        _require("overlap", self.overlap, self.overlap >= 0, "at least 0")
        if self.tile is not None:
            _require("tile", self.tile, self.tile > self.overlap, f"above the overlap of {self.overlap}")


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
        image_size: of the file's input in pixels. None is the crop size of the training, or the size of `run`'s input
            where that is a .tflite file.
        quantization: one, or several to be compared in a table.
        output: what the file gives for each pixel. The Task Library and MediaPipe do not take labels.
        mask_stride: pixels of the image for each pixel of the output: 1 is full size; 4 (or the output stride) is less
            work for the device, and the client enlarges the mask.
        input_type, output_type: of the ends of a quantized file; None is uint8 for int8, float32 for the others.
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
        _require("max_miou_drop", self.max_miou_drop, self.max_miou_drop >= 0, "at least 0, in points")
        for name in ("calibration_pictures", "agreement_pictures", "threads"):
            _require(name, getattr(self, name), getattr(self, name) > 0, "above 0")
        _require("miou_pictures", self.miou_pictures, self.miou_pictures >= 0, "at least 0")
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
    allow_missing: bool = False
    check_data: bool = False
    output_stride: tuple[int, ...] = (16, 8)
    image_size: ImageSize = None


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


def build(cls: type[T], mapping: Mapping[str, Any], path: str = "") -> T:
    """Makes the frozen dataclass `cls` from a plain mapping, as read from YAML or JSON.

    Args:
        cls: a dataclass whose fields are bool, int, float, str, None, Literal, tuples, unions or dataclasses.
        mapping: its values; a key that is left out takes the default.
        path: the place of `mapping` in the whole configuration, for messages ("training.augment").

    Raises:
        UserError: an unknown key, a wrong type, a missing required key; the message names the path.
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    values = {}
    for key, value in mapping.items():
        where = f"{path}.{key}" if path else str(key)
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            known = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(fields)}"
            raise UserError(where, "no such key", known)
        values[key] = _convert(hints[key], value, where)
    for name, f in fields.items():
        if name not in values and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise UserError(f"{path}.{name}" if path else name, "a value is needed", f"set it with {name}=...")
    return cls(**values)


def to_mapping(config: Any) -> dict[str, Any]:
    """The inverse of `build`: a dataclass as JSON-ready mappings and lists."""
    return dataclasses.asdict(config)


def height_width(image_size: ImageSize) -> tuple[int | None, int | None]:
    """(height, width) of an image size; (None, None) where any will do."""
    if image_size is None or isinstance(image_size, int):
        return image_size, image_size
    return image_size


def _convert(hint: Any, value: Any, where: str) -> Any:
    """`value` as the type `hint`, or a UserError that names `where`."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        for option in args:
            try:
                return _convert(option, value, where)
            except UserError:
                continue
    elif origin is Literal:
        if value in args:
            return value
        raise UserError(where, f"{value!r} is not a choice", f"one of {', '.join(map(str, args))}")
    elif origin is tuple:
        if isinstance(value, (list, tuple)):
            if len(args) == 2 and args[1] is Ellipsis:
                return tuple(_convert(args[0], v, f"{where}[{i}]") for i, v in enumerate(value))
            if len(value) == len(args):
                return tuple(_convert(a, v, f"{where}[{i}]") for i, (a, v) in enumerate(zip(args, value, strict=True)))
    elif origin is dict:
        if isinstance(value, Mapping):
            return dict(value)
    elif dataclasses.is_dataclass(hint):
        if isinstance(value, Mapping):
            return build(typing.cast(type, hint), value, where)
        if isinstance(value, typing.cast(type, hint)):
            return value
    elif hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    elif hint is int and isinstance(value, bool):
        pass
    elif isinstance(hint, type) and isinstance(value, hint):
        return value
    raise UserError(where, f"{value!r} is no {_type_name(hint)}", f"give a {_type_name(hint)}")


def _type_name(hint: Any) -> str:
    """How a message calls a type."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type_name(a) for a in args)
    if origin is tuple:
        return "list of " + " and ".join(_type_name(a) for a in args if a is not Ellipsis)
    return {type(None): "null", int: "whole number", float: "number", str: "text", bool: "true or false"}.get(
        hint, getattr(hint, "__name__", str(hint))
    )


def _require(where: str, value: Any, holds: bool, wanted: str) -> None:
    """Raises UserError naming `where` and `value` unless `holds`."""
    if not holds:
        raise UserError(where, f"{value!r} will not do", f"it must be {wanted}")
