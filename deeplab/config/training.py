"""The config of a training recipe."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from deeplab.config.distillation import DistillationConfig
from deeplab.config.mapping import check_fields, check_list, require
from deeplab.config.ranges import (
    BelowOneFloat,
    ClassId,
    FractionFloat,
    NonNegativeFloat,
    NonNegativeInt,
    OutputStride,
    PositiveFloat,
    PositiveInt,
    Range,
    ScaleFactor,
    Side,
    UnitFloat,
)


@dataclass(frozen=True)
class AugmentConfig:
    """Data augmentation; the defaults are those of tensorflow/models research/deeplab, input_preprocess.py.

    Attributes:
        min_scale: smallest scale factor.
        max_scale: largest scale factor.
        scale_step: the factor is drawn from {min, min + step, ..., max}; 0 draws from the whole interval.
        flip: probability of a left-right flip.
        rotation: maximum rotation to either side in degrees; the corners are padded and ignored. Not in the published
            recipe, hence 0.
        brightness: the brightness factor is drawn from 1 - v to 1 + v. Not in the published recipe.
        contrast: likewise for contrast.
        saturation: likewise for saturation.
        rare_crops: probability that a crop is centered on a pixel of one of `rare_classes` that the image contains;
            each of these classes is equally likely. 0 ignores the labels, as the published recipe does.
        rare_classes: ids of these classes.
    """

    min_scale: ScaleFactor = 0.5
    max_scale: ScaleFactor = 2.0
    scale_step: Annotated[float, Range("from 0 to 20", 0, 20)] = 0.25
    flip: UnitFloat = 0.5
    rotation: Annotated[float, Range("of 0 to 180 degrees", 0, 180)] = 0.0
    brightness: BelowOneFloat = 0.0
    contrast: BelowOneFloat = 0.0
    saturation: BelowOneFloat = 0.0
    rare_crops: UnitFloat = 0.0
    rare_classes: tuple[ClassId, ...] = ()

    def __post_init__(self) -> None:
        """Raise UserError if a value is out of range."""
        check_fields(self, "training.augment.")
        ordered = self.min_scale <= self.max_scale
        require("training.augment.min_scale", self.min_scale, ordered, f"at most max_scale={self.max_scale:g}")
        check_list("training.augment.rare_classes", self.rare_classes or None, "class id")
        named = bool(self.rare_crops) == bool(self.rare_classes)
        require("training.augment.rare_crops", self.rare_crops, named, "0 without rare_classes, and above 0 with them")


@dataclass(frozen=True)
class QuantizationAwareConfig:
    """Activation ranges in quantization-aware training (Jacob et al., arXiv:1712.05877, sec. 3.1).

    Attributes:
        range_batches: number of batches on which the ranges are initialized, in the float network.
        delay: number of updates during which ranges and batch-norm statistics track the batches; both are frozen
            afterwards. 0 keeps the initial ranges.
        range_momentum: momentum of the moving ranges, 0 to below 1.
        ranges: after the delay the ranges are fixed, or learned together with the weights.
        per_tensor: one scale per kernel instead of one per output channel, for NPUs that refuse per-channel kernels.
    """

    range_batches: PositiveInt = 4
    delay: NonNegativeInt = 1000
    range_momentum: BelowOneFloat = 0.99
    ranges: Literal["fixed", "learned"] = "fixed"
    per_tensor: bool = False

    def __post_init__(self) -> None:
        """Raise UserError if a value is out of range."""
        check_fields(self, "training.quantization.")


@dataclass(frozen=True)
class TrainingConfig:
    """The training recipe; the defaults are those of tensorflow/models research/deeplab, train.py.

    Attributes:
        steps: number of updates.
        batch_size: images per update, over all replicas and all accumulated parts.
        crop_size: side, or [height, width], of the training crop in pixels; sizes of 32k+1 need no padding. With
            data.resize the default is data.image_size.
        output_stride: output stride of the network during training.
        optimizer: sgd (momentum without Nesterov) or adamw.
        learning_rate: initial learning rate.
        learning_policy: poly, lr * (1 - step / steps) ** power; or step, lr * decay_factor ** (step // decay_steps).
        power: exponent of the poly rule.
        decay_steps: number of updates between two reductions by the step rule.
        decay_factor: factor of each of these reductions.
        slow_start_steps: number of updates at `slow_start_learning_rate` before the rule starts.
        slow_start_learning_rate: learning rate of these updates.
        momentum: momentum of sgd.
        weight_decay: factor wd of the term wd/2 * sum(w^2) over the kernels of convolutions (without depthwise kernels,
            biases and batch norms). null takes the published value of the network: 5e-4 for the heads v1 and v2 and for
            vgg16 (arXiv:1412.7062; arXiv:1606.00915), 1e-4 for ResNet, 4e-5 for the others (tensorflow/models
            research/deeplab, train.py). With adamw it is decoupled from the gradient and needs a larger value, such as
            0.01.
        bias_multiplier: learning-rate factor of biases (batch norms are not affected).
        last_layers_multiplier: learning-rate factor of all layers after the backbone (ASPP, decoder, logits).
        backbone_multiplier: learning-rate factor of the backbone; 0 freezes it including its batch norms.
        layer_multipliers: learning-rate factor by prefix of the layer name ({decoder_: 10}); it replaces the two
            previous factors. The longest matching prefix wins.
        clip_norm: maximum global norm of the gradients; null disables clipping.
        accumulation: number of equal parts in which a batch passes through the network to save memory. The update is
            that of the whole batch, except that batch norm uses the statistics of each part.
        class_weights: factor on the loss of each class: a list, or computed from the training masks by
            median_frequency (arXiv:1411.4734, sec. 6.3.2) or effective_number (arXiv:1901.05555). null: all 1.
        label_smoothing: fraction of each label that is spread over all classes.
        mining_top: hard-pixel mining: fraction of the pixels, those with the highest loss, that counts; 1 disables it.
        mining_steps: number of updates over which that fraction decreases from 1 to `mining_top`.
        auxiliary_weight: loss weight of an auxiliary head on the second-to-last stage of a ResNet, present in training
            only (PSPNet, arXiv:1612.01105, sec. 3.3, uses 0.4); 0 disables it.
        ema_decay: decay of an exponential moving average of the weights, which is then evaluated, saved and exported;
            0 disables it.
        batch_norm: train; sync (train with statistics over all replicas); frozen_statistics (normalize by the
            statistics of the pretrained weights, and train gamma and beta: `fine_tune_batch_norm=False` of
            tensorflow/models); or frozen (gamma and beta do not change either: DeepLabv3, arXiv:1706.05587, sec. 4.1).
        linear_probe_images: number of augmented training crops to whose pretrained features the classifier is fitted by
            logistic regression before the first update (arXiv:2202.10054), without the settings of the loss. A loaded
            classifier of the same classes is kept, an auxiliary head is not fitted. Needs head v3 or v3plus, weights
            for all layers before the classifier, and frozen statistics of batch norm unless batches are large; 0: no.
        recalibration_batches: after training, re-estimate the batch-norm statistics on this many batches, at the first
            evaluated output stride; 0 keeps the moving averages. Frozen statistics cannot be re-estimated.
        quantize_aware: simulate the rounding of the int8 .tflite file in the forward pass. Needs pretrained weights;
            the run is then exported without calibration.
        quantization: activation ranges of quantization-aware training.
        distillation: soft targets from a trained model.
        precision: float32; mixed_float16 (with loss scaling) or mixed_bfloat16, both slower than float32 on CPUs.
        xla: compile the update with XLA. On a CPU it took 14 times as long, hence off.
        devices: auto uses the workers that TF_CONFIG names, else all local GPUs, else the CPU; one, mirrored (all local
            devices) and multi_worker force that choice.
        augment: data augmentation.
        save_every: number of updates between two state checkpoints.
        evaluate_every: number of updates between two evaluations on the validation split; the best weights are kept.
            If the initial classifier was fitted, or loaded with the classes of the data, the initial weights are
            evaluated too, as step 0. null evaluates at the end only.
        evaluate_images: number of validation images of these evaluations, from the start; null takes all.
        patience: stop after this many evaluations in a row without a better mIoU at the first evaluated output stride,
            not counting step 0; null never stops before `steps`.
        result: the weights a run ends with, in model.weights.h5: the last, or the best evaluated ones. null is best
            with `patience`, else last.
        log_every: number of updates between two rows of log.csv and TensorBoard.
        preview_images: number of validation images shown in TensorBoard and training.html.
    """

    steps: PositiveInt = 30_000
    batch_size: PositiveInt = 16
    crop_size: Side | tuple[Side, Side] = 513
    output_stride: OutputStride = 16
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: Annotated[float, Range("above 0 and at most 100", 0, 100, open_low=True)] = 0.007
    learning_policy: Literal["poly", "step"] = "poly"
    power: Annotated[float, Range("from 0 to 100", 0, 100)] = 0.9
    decay_steps: PositiveInt = 2000
    decay_factor: FractionFloat = 0.1
    slow_start_steps: NonNegativeInt = 0
    slow_start_learning_rate: NonNegativeFloat = 1e-4
    momentum: BelowOneFloat = 0.9
    weight_decay: NonNegativeFloat | None = None
    bias_multiplier: NonNegativeFloat = 2.0
    last_layers_multiplier: NonNegativeFloat = 1.0
    backbone_multiplier: NonNegativeFloat = 1.0
    layer_multipliers: dict[str, NonNegativeFloat] = field(default_factory=dict)
    clip_norm: PositiveFloat | None = None
    accumulation: PositiveInt = 1
    class_weights: tuple[NonNegativeFloat, ...] | Literal["median_frequency", "effective_number"] | None = None
    label_smoothing: BelowOneFloat = 0.0
    mining_top: FractionFloat = 1.0
    mining_steps: NonNegativeInt = 0
    auxiliary_weight: NonNegativeFloat = 0.0
    ema_decay: BelowOneFloat = 0.0
    batch_norm: Literal["train", "sync", "frozen_statistics", "frozen"] = "train"
    linear_probe_images: NonNegativeInt = 0
    recalibration_batches: NonNegativeInt = 0
    quantize_aware: bool = False
    quantization: QuantizationAwareConfig = field(default_factory=QuantizationAwareConfig)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    xla: bool = False
    devices: Literal["auto", "one", "mirrored", "multi_worker"] = "auto"
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    save_every: PositiveInt = 500
    evaluate_every: PositiveInt | None = None
    evaluate_images: PositiveInt | None = None
    patience: PositiveInt | None = None
    result: Literal["last", "best"] | None = None
    log_every: PositiveInt = 10
    preview_images: NonNegativeInt = 4

    def __post_init__(self) -> None:
        """Raise UserError if a value is out of range or contradicts another one."""
        check_fields(self, "training.")
        if isinstance(self.class_weights, tuple):
            require("training.class_weights", self.class_weights, sum(self.class_weights) > 0, "a weight above 0")
        divides = self.batch_size % self.accumulation == 0
        require("training.accumulation", self.accumulation, divides, f"a divisor of batch_size={self.batch_size}")
        shorter = self.slow_start_steps < self.steps
        require("training.slow_start_steps", self.slow_start_steps, shorter, f"less than steps={self.steps}")
        if self.quantize_aware:
            for name, only in (("precision", "float32"), ("auxiliary_weight", 0.0), ("recalibration_batches", 0)):
                value = getattr(self, name)
                require(f"training.{name}", value, value == only, f"{only!r} with training.quantize_aware=true")
        combined = self.distillation.teacher is None or self.mining_top == 1
        require("training.mining_top", self.mining_top, combined, "1 with training.distillation.teacher")
        updated = not (self.freezes_statistics and self.recalibration_batches)
        expected = f"0 with training.batch_norm={self.batch_norm}"
        require("training.recalibration_batches", self.recalibration_batches, updated, expected)

    def require_validations(self) -> None:
        """Raise UserError if validations decide about the weights, but there are none; a plan adds them."""
        if self.evaluate_every is None:
            # First, because `training.result` follows from it.
            require("training.patience", self.patience, self.patience is None, "null without training.evaluate_every")
            expected = "last, unless training.evaluate_every is set"
            require("training.result", self.result, self.result != "best", expected)

    @property
    def crop(self) -> tuple[int, int]:
        """`crop_size` as (height, width)."""
        return (self.crop_size, self.crop_size) if isinstance(self.crop_size, int) else self.crop_size

    @property
    def freezes_statistics(self) -> bool:
        """Whether the moving statistics of all batch norms stay as they are."""
        return self.batch_norm in ("frozen_statistics", "frozen")
