"""The config of a network."""

from dataclasses import dataclass
from typing import Annotated, Literal

from deeplab.config.mapping import check_fields, require
from deeplab.config.ranges import AtrousRate, BelowOneFloat, Channels, Range

SINGLE_CLASSIFIER_HEADS = ("v3", "v3plus")
"""The heads whose logits are always one 1x1 convolution, so that a linear classifier can be fitted to its inputs."""


@dataclass(frozen=True)
class ModelConfig:
    """The architecture of a network: everything that determines the shapes of its weights.

    The output stride is not a field, because the weights do not depend on it: it is an argument of `build_model`.

    Attributes:
        backbone: feature extractor: mobilenet_v2, mobilenet_v3_large, mobilenet_v3_small, resnet50, resnet101,
            resnet50_beta, resnet101_beta (a stem of three 3x3 convolutions), vgg16, xception41, xception65 or
            xception71.
        depth_multiplier: factor on the channels of the backbone.
        round_channels: round these channels to multiples of 8, as keras.applications does. The official DeepLab models
            with multiplier 0.5 do not round (12 stays 12).
        reduced_tail: halve the channels of MobileNetV3's last block (arXiv:1905.02244, sec. 6.4). ImageNet weights of
            the full network do not fit.
        expanded_channels: expanded channels of each block of MobileNetV2 that has an expansion, 16 numbers; null is six
            times the channels of its input. Pruned networks have fewer (training setting `prune`).
        multi_grid: rates of the three units of ResNet's last block, relative to the rate required by the output stride
            (DeepLabv3, arXiv:1706.05587, sec. 3.2.1); [1, 1, 1] is the network trained on ImageNet.
        head: v1 is LargeFOV, an atrous 3x3 convolution (DeepLabv1, arXiv:1412.7062); v2 is the sum of several with
            different rates (DeepLabv2, arXiv:1606.00915, sec. 3.2). On vgg16 the hidden layers fc6 and fc7 precede the
            logits of each; on other backbones the atrous convolutions return the logits. v3 is ASPP (DeepLabv3,
            arXiv:1706.05587, sec. 3.3); v3plus adds the decoder (DeepLabv3+, arXiv:1802.02611, sec. 3.1); lraspp is
            Lite R-ASPP (MobileNetV3, arXiv:1905.02244, sec. 6.4).
        aspp_rates: atrous rates of the head, defined at output stride 16 (the papers of v1 and v2 state theirs at 8,
            twice as large). v1 takes one rate, v2 one per branch, lraspp ignores them. In v3 and v3plus an empty list
            leaves image pooling and the 1x1 branch, which is the head of the official mobile models.
        aspp_separable: use depthwise separable convolutions in the atrous branches of v3 and v3plus.
        aspp_channels: output channels of each branch of the head and of its projection, and of fc6 and fc7.
        image_pooling: include the image-level features in the ASPP of v3 and v3plus.
        low_level_channels: output channels of the decoder's projection of the low-level features.
        decoder_channels: output channels of the decoder's two 3x3 convolutions.
        decoder_separable: use depthwise separable convolutions in the decoder.
        dropout: dropout rate after the projection of v3 and v3plus, after fc6 and fc7, and in the auxiliary head; 0 to
            below 1. The other heads have no dropout.
        classes: number of classes including the background, 2 to 255.
        batch_norm_momentum: momentum of all batch norms. null takes the published value of each part (0.9997 in ASPP
            and decoder, 0.997 in MobileNetV2), which needs tens of thousands of steps; short trainings need 0.95.
    """

    backbone: str = "mobilenet_v2"
    depth_multiplier: Annotated[float, Range("from 0.05 to 10", 0.05, 10)] = 1.0
    round_channels: bool = False
    reduced_tail: bool = False
    expanded_channels: tuple[Channels, ...] | None = None
    multi_grid: tuple[AtrousRate, AtrousRate, AtrousRate] = (1, 2, 4)
    head: Literal["v1", "v2", "v3", "v3plus", "lraspp"] = "v3plus"
    aspp_rates: tuple[AtrousRate, ...] = (6, 12, 18)
    aspp_separable: bool = True
    aspp_channels: Channels = 256
    image_pooling: bool = True
    low_level_channels: Channels = 48
    decoder_channels: Channels = 256
    decoder_separable: bool = True
    dropout: BelowOneFloat = 0.1
    classes: Annotated[int, Range("from 2 to 255", 2, 255)] = 21
    batch_norm_momentum: BelowOneFloat | None = None

    def __post_init__(self) -> None:
        """Raise UserError if a value is out of range."""
        check_fields(self, "model.")
        blocks = self.expanded_channels
        fits = blocks is None or (self.backbone == "mobilenet_v2" and len(blocks) == 16)
        require("model.expanded_channels", blocks, fits, "null, or 16 numbers with backbone=mobilenet_v2")
        if self.head == "v1":
            require("model.aspp_rates", self.aspp_rates, len(self.aspp_rates) == 1, "one rate with head v1")
        if self.head == "v2":
            require("model.aspp_rates", self.aspp_rates, len(self.aspp_rates) > 0, "a rate per branch with head v2")

    @property
    def summary(self) -> str:
        """Backbone, depth multiplier unless it is 1, and head, for people."""
        depth = "" if self.depth_multiplier == 1 else f" with depth multiplier {self.depth_multiplier:g}"
        return f"{self.backbone}{depth}, head {self.head}"

    @property
    def hidden_layers(self) -> bool:
        """Whether the heads v1 and v2 have the hidden layers fc6 and fc7.

        They are the fully connected layers of VGG-16, made convolutional. ResNet-101 has none, and the heads convolve
        its features to the classes directly (DeepLabv2, arXiv:1606.00915, sec. 4.1, and its published network).
        """
        return self.backbone == "vgg16"
