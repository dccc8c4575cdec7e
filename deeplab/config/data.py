"""The config of labeled images."""

from dataclasses import dataclass
from typing import Annotated, Literal

from deeplab.config.class_names import check_class_names
from deeplab.config.image_size import Fit, ImageSize, Resize
from deeplab.config.mapping import check_fields, require
from deeplab.config.ranges import BelowOneFloat, OptionalText, PositiveInt, Range, Seed


@dataclass(frozen=True)
class DataConfig:
    """The source of images and masks.

    Attributes:
        source: shapes (the built-in drawn scenes), voc (a VOCdevkit folder), cityscapes, ade20k (ADEChallengeData2016),
            coco_voc (COCO with the 20 classes of VOC), folder (images/ and masks/) or tfds (a TensorFlow Datasets set
            that has masks).
        root: folder of the data. For tfds: the folder of prepared sets; null is the default folder of TFDS.
        name: name of the set. For voc: the folder of the year, VOC2012 by default. For cityscapes: gtFine (default) or
            gtCoarse. For coco_voc: instances (default) or panoptic. For tfds: the name of the set, with its config if
            it has several ("cityscapes/semantic_segmentation").
        classes: names of the classes, background first; null takes those of the source (classes.txt of a folder).
        train_split: name of the split to train on. For voc, auto is train_aug, the split of the published figures, if
            the masks of SBD are found (SegmentationClassAug, or `sbd`), else train.
        val_split: name of the split to evaluate on. A folder has the additional split `all`.
        val_size: number of images of the validation split to use, from the start; null takes all (64 for shapes).
        val_fraction: fraction of a folder's images that is held out for validation if neither list files nor
            sub-folders define the splits.
        split_seed: seed of that choice. The same seed always holds out the same images.
        label_ids: the mask value of each class, in the order of the classes; all other values are ignored. [0, 255]
            for black-and-white masks, [2, 1] for the Oxford pets. null: the values are the class ids. For folder and
            tfds.
        colors: YAML file that maps class names to [red, green, blue], for color masks in a folder.
        mask_suffix: what the file names of masks have after the name of the image ("_L" in CamVid).
        image_feature: name of the image feature of a tfds set; null is that of a known set, else "image".
        label_feature: name of the mask feature of a tfds set; null is that of a known set, else "segmentation_mask".
        download: download and prepare a tfds set that is not prepared.
        sbd: folder of the Semantic Boundaries Dataset (its `dataset` folder, or a folder of PNG masks), for the split
            train_aug of voc.
        unlabelled: folder of images without masks, which the training shuffles among the labeled ones; only the loss
            against the teacher counts on them (training.distillation).
        on_unreadable: stop at an image that cannot be used, or skip it; skipped images are counted and named.
        resize: how an image becomes what the network sees: none (its own pixels, as in the published protocol),
            letterbox (scaled to fit into `image_size` with its aspect kept, and padded at the bottom and on the right),
            or stretch (scaled to `image_size` without keeping the aspect, as most apps do). Augmentation follows. The
            run is evaluated, exported and used in the same way; scores are always those of the original labels.
        image_size: size in pixels that `resize` scales to: in training, evaluation and prediction, and of the exported
            file; null with resize=none.
        cache_memory: share of the machine's memory for resized training images, so that each file is decoded once; the
            workers of a training on one machine divide it; 0 keeps none.
        min_resize_value: scale each image and mask so that the shorter side has this many pixels, in training and
            evaluation (tensorflow/models research/deeplab core/preprocess_utils.py, `resize_to_range`, for ADE20K);
            null keeps the size of the images.
        max_resize_value: maximum of the longer side after this scaling; null sets no maximum.
        resize_factor: both sides are rounded up to a multiple of this plus one, the maximum is rounded down; null
            rounds neither.
        eval_size: pad images, never scale them, to this size for evaluation, as the published protocol of the set does
            (513 for VOC); null evaluates each image at its own size. Not used with `resize`.
    """

    source: Literal["shapes", "voc", "cityscapes", "ade20k", "coco_voc", "folder", "tfds"] = "shapes"
    root: str | None = None
    name: str | None = None
    classes: tuple[str, ...] | None = None
    train_split: str = "train"
    val_split: str = "val"
    val_size: PositiveInt | None = None
    val_fraction: Annotated[float, Range("above 0 and below 1", 0, 1, open_low=True, open_high=True)] = 0.2
    split_seed: Seed = 0
    label_ids: tuple[Annotated[int, Range("from 0 to 255", 0, 255)], ...] | None = None
    colors: str | None = None
    mask_suffix: OptionalText = ""
    image_feature: str | None = None
    label_feature: str | None = None
    download: bool = False
    sbd: str | None = None
    unlabelled: str | None = None
    on_unreadable: Literal["stop", "skip"] = "stop"
    resize: Resize = "none"
    image_size: ImageSize = None
    cache_memory: BelowOneFloat = 0.25
    min_resize_value: PositiveInt | None = None
    max_resize_value: PositiveInt | None = None
    resize_factor: PositiveInt | None = None
    eval_size: ImageSize = None

    def __post_init__(self) -> None:
        """Raise UserError if a value is out of range, or the class names are not valid."""
        check_fields(self, "data.")
        if self.classes is not None:
            check_class_names(self.classes, "data.classes")
        for key in ("max_resize_value", "resize_factor"):
            value = getattr(self, key)
            scaled = value is None or self.min_resize_value is not None
            require(f"data.{key}", value, scaled, "null, unless data.min_resize_value is set")
        one_size = "none with data=shapes, whose scenes have one size"
        require("data.resize", self.resize, self.resize == "none" or self.source != "shapes", one_size)
        if self.resize == "none":
            require("data.image_size", self.image_size, self.image_size is None, "null, unless data.resize is set")
        else:
            expected = f"a size in pixels with data.resize={self.resize}"
            require("data.image_size", self.image_size, self.image_size is not None, expected)
            expected, once = f"null with data.resize={self.resize}", self.min_resize_value is None
            require("data.min_resize_value", self.min_resize_value, once, expected)

    @property
    def fit(self) -> Fit:
        """How images meet a network that was trained on these data: as in the training."""
        return "auto" if self.resize == "none" else self.resize
