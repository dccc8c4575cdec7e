"""What a network learns from, and how."""

from dataclasses import dataclass, field
from typing import Literal

from deeplab.config.image_size import ImageSize
from deeplab.config.mapping import require


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
        prepared: folder that "voc" is copied into once as TFRecord files and read from after that; "auto": a training
            copies it into its run folder, while the other commands, which write nothing there, read the devkit; None
            reads the files of the devkit themselves. The examples and their order are the same.
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
        require("training.augment.min_scale", self.min_scale, 0 < self.min_scale <= self.max_scale, "0 < min <= max")
        require("training.augment.scale_step", self.scale_step, self.scale_step >= 0, "at least 0")
        require("training.augment.flip", self.flip, 0 <= self.flip <= 1, "a probability")
        require("training.augment.rotation", self.rotation, 0 <= self.rotation <= 180, "from 0 to 180 degrees")
        for name in ("brightness", "contrast", "saturation"):
            value = getattr(self, name)
            require(f"training.augment.{name}", value, 0 <= value < 1, "at least 0 and below 1")


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
            require(f"training.{name}", getattr(self, name), getattr(self, name) > 0, "above 0")
        require("training.learning_rate", self.learning_rate, self.learning_rate > 0, "above 0")
        require("training.weight_decay", self.weight_decay, self.weight_decay >= 0, "at least 0")
