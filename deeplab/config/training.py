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
class QuantizeAwareConfig:
    """How the ranges of a quantization-aware training come about (arXiv:1712.05877, sec. 3.1).

    Attributes:
        range_batches: over so many batches ranges are measured before the first update, in the float network.
        delay: over so many first updates ranges follow the batches, as do the statistics of trained batch norms;
            then both stay. 0 keeps what was measured.
        range_momentum: how much of a range an update leaves while it follows, 0..1.
        ranges: what becomes of ranges after the delay: they are "fixed", or "learned" with the weights.
    """

    range_batches: int = 4
    delay: int = 1000
    range_momentum: float = 0.99
    ranges: Literal["fixed", "learned"] = "fixed"

    def __post_init__(self) -> None:
        """Raises UserError where a value is out of range."""
        where = "training.quantization"
        require(f"{where}.range_batches", self.range_batches, self.range_batches > 0, "above 0")
        require(f"{where}.delay", self.delay, self.delay >= 0, "at least 0")
        momentum = self.range_momentum
        require(f"{where}.range_momentum", momentum, 0 <= momentum < 1, "at least 0 and below 1")


@dataclass(frozen=True)
class TrainingConfig:
    """The published recipe (numbers of tensorflow/models research/deeplab, train.py), and what may be changed of it.

    Attributes:
        steps: number of updates.
        batch_size: pictures an update, over all replicas and all parts of `accumulation`.
        crop_size: side of the training crop in pixels; 32k+1 wastes nothing.
        output_stride: at which the network is trained.
        optimizer: "sgd" with momentum, without Nesterov, or "adamw".
        learning_rate: at the start; decays by the "poly" rule lr * (1 - step / steps) ** power.
        power: of the poly rule.
        slow_start_steps: so many first updates are made at `slow_start_learning_rate`; the poly rule counts from there.
        slow_start_learning_rate: see `slow_start_steps`.
        momentum: of SGD.
        weight_decay: factor wd of wd/2 * sum(w^2), over the kernels of convolutions (not depthwise, biases or norms).
            With "adamw" it is decoupled from the gradient and wants to be larger, such as 0.01.
        bias_multiplier: factor on the learning rate of biases; batch norm has none in this sense.
        last_layers_multiplier: factor on that of all layers behind the backbone (ASPP, decoder, logits).
        backbone_multiplier: factor on that of the backbone; 0 freezes it, its batch norms too, and saves its gradients.
        layer_multipliers: factor on the learning rate of the layers whose names begin so ({"decoder_": 10}), in place
            of the two before; of several that fit the longest holds.
        clip_norm: longer gradients (norm over all variables) are shortened to this; None shortens none.
        accumulation: the batch goes through the network in so many parts, one after the other, to save memory; the
            update is that of the whole batch, but for batch norm's statistics, which are each part's.
        class_weights: factor on the loss of each class, as many as there are classes, or how to get them from the masks
            of the training split: "median_frequency" (arXiv:1411.4734, sec. 6.3.2), "effective_number"
            (arXiv:1901.05555). None weighs all alike.
        label_smoothing: share of each label that is spread over all classes.
        mining_top: share of the pixels, the hardest, whose loss counts; 1 takes all.
        mining_steps: over so many first updates that share goes down from 1 to `mining_top`.
        auxiliary_weight: weight of the loss of a second head, on the features of a ResNet's last stage but one, that is
            there in training only (arXiv:1612.01105, sec. 3.3 has 0.4); 0 has none.
        ema_decay: of an exponential moving average of the weights, which is then what is measured, saved and exported;
            0 has none.
        batch_norm: "train"; "sync": train with statistics over all replicas; or "frozen": statistics, gamma and beta
            stay as they are.
        recalibration_batches: after training, the statistics of batch norm are measured anew over so many batches, at
            the first output stride that the result is measured at; 0 leaves them.
        quantize_aware: train with the rounding of the int8 .tflite file in the forward pass
            (`deeplab.model.quantization.transform.quantize_aware`); begins from trained weights, and exports without
            calibration.
        quantization: the ranges of such a training.
        precision: "float32"; "mixed_float16", with loss scaling; "mixed_bfloat16". On CPUs the halves are slower.
        xla: compile the update with XLA. Off: on a CPU it took 14 times as long, and it drew one resize wrong.
        devices: "auto" takes all machines that TF_CONFIG names, else all the GPUs of this one, else what is there;
            "one", "mirrored" (all devices of this machine), "multi_worker" and "tpu" insist.
        augment: the augmentation.
        save_every: steps between two saved states.
        keep: how many of the latest states stay on disk.
        evaluate_every: steps between two measurements on the validation split while training goes on; the weights of
            the best are kept. None measures at the end only.
        evaluate_pictures: how many validation pictures those take, the first; None takes all.
        result: which weights a training ends with: the "last", or the "best" of those measured.
        log_every: steps between two lines of log.csv and TensorBoard.
        pictures: how many validation pictures TensorBoard and the page show.
    """

    steps: int = 30_000
    batch_size: int = 16
    crop_size: int = 513
    output_stride: int = 16
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.007
    power: float = 0.9
    slow_start_steps: int = 0
    slow_start_learning_rate: float = 1e-4
    momentum: float = 0.9
    weight_decay: float = 4e-5
    bias_multiplier: float = 2.0
    last_layers_multiplier: float = 1.0
    backbone_multiplier: float = 1.0
    layer_multipliers: dict[str, float] = field(default_factory=dict)
    clip_norm: float | None = None
    accumulation: int = 1
    class_weights: tuple[float, ...] | Literal["median_frequency", "effective_number"] | None = None
    label_smoothing: float = 0.0
    mining_top: float = 1.0
    mining_steps: int = 0
    auxiliary_weight: float = 0.0
    ema_decay: float = 0.0
    batch_norm: Literal["train", "sync", "frozen"] = "train"
    recalibration_batches: int = 0
    quantize_aware: bool = False
    quantization: QuantizeAwareConfig = field(default_factory=QuantizeAwareConfig)
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    xla: bool = False
    devices: Literal["auto", "one", "mirrored", "multi_worker", "tpu"] = "auto"
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    save_every: int = 500
    keep: int = 2
    evaluate_every: int | None = None
    evaluate_pictures: int | None = None
    result: Literal["last", "best"] = "last"
    log_every: int = 10
    pictures: int = 4

    def __post_init__(self) -> None:
        """Raises UserError where a value is out of range or contradicts another."""
        positive = (
            "steps",
            "batch_size",
            "crop_size",
            "learning_rate",
            "accumulation",
            "save_every",
            "keep",
            "log_every",
        )
        for name in positive:
            require(f"training.{name}", getattr(self, name), getattr(self, name) > 0, "above 0")
        for name in ("clip_norm", "evaluate_every", "evaluate_pictures"):
            value = getattr(self, name)
            require(f"training.{name}", value, value is None or value > 0, "above 0, or null")
        for name in (
            "slow_start_steps",
            "slow_start_learning_rate",
            "weight_decay",
            "mining_steps",
            "auxiliary_weight",
            "bias_multiplier",
            "last_layers_multiplier",
            "backbone_multiplier",
            "recalibration_batches",
        ):
            require(f"training.{name}", getattr(self, name), getattr(self, name) >= 0, "at least 0")
        for name in ("label_smoothing", "ema_decay", "momentum"):
            require(f"training.{name}", getattr(self, name), 0 <= getattr(self, name) < 1, "at least 0 and below 1")
        require("training.mining_top", self.mining_top, 0 < self.mining_top <= 1, "above 0, at most 1")
        whole = self.batch_size % self.accumulation == 0
        require("training.accumulation", self.accumulation, whole, f"a divisor of the batch size {self.batch_size}")
        require("training.slow_start_steps", self.slow_start_steps, self.slow_start_steps < self.steps, "below steps")
        if self.quantize_aware:
            for name, alone in (("precision", "float32"), ("auxiliary_weight", 0.0), ("recalibration_batches", 0)):
                value = getattr(self, name)
                require(f"training.{name}", value, value == alone, f"{alone!r} with training.quantize_aware")
        for beginning, value in self.layer_multipliers.items():
            where = f"training.layer_multipliers.{beginning}"
            require(where, value, isinstance(value, (int, float)) and value >= 0, "a number, at least 0")
        measured = self.result == "last" or self.evaluate_every is not None
        require("training.result", self.result, measured, '"last", or set training.evaluate_every')
