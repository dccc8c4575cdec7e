"""What fixes the weights of a network."""

from dataclasses import dataclass
from typing import Literal

from deeplab.config.mapping import require


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
        multi_grid: ResNet's three rates within its last block, times the rate that the output stride asks for
            (DeepLabv3, arXiv:1706.05587, sec. 3.2.1); (1, 1, 1) is the network that learnt ImageNet.
        head: "v1" is LargeFOV (DeepLabv1, arXiv:1412.7062); "v2" sums branches of several rates (DeepLabv2,
            arXiv:1606.00915, sec. 3.2); "v3" is ASPP and logits (DeepLabv3, arXiv:1706.05587, sec. 3.3); "v3plus" adds
            the decoder (DeepLabv3+, arXiv:1802.02611, sec. 3.1); "lraspp" is Lite R-ASPP (MobileNetV3,
            arXiv:1905.02244, sec. 6.4).
        aspp_rates: atrous rates of the head, as meant at output stride 16 (DeepLabv1 and v2 print theirs for 8, twice
            as large). "v1" has one, "v2" one for each branch, "lraspp" asks for none; in "v3" and "v3plus" () leaves
            image pooling and the 1x1 branch, the official mobile head.
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
        require("model.depth_multiplier", self.depth_multiplier, self.depth_multiplier > 0, "above 0")
        require("model.classes", self.classes, 2 <= self.classes <= 256, "from 2 to 256")
        require("model.dropout", self.dropout, 0 <= self.dropout < 1, "at least 0 and below 1")
        require("model.aspp_rates", self.aspp_rates, all(r > 0 for r in self.aspp_rates), "positive rates")
        require("model.multi_grid", self.multi_grid, all(r > 0 for r in self.multi_grid), "positive rates")
        wanted = {"v1": len(self.aspp_rates) == 1, "v2": len(self.aspp_rates) > 0}.get(self.head, True)
        number = "one rate, such as [6]," if self.head == "v1" else "a rate for each branch"
        require("model.aspp_rates", self.aspp_rates, wanted, f"{number} with head {self.head}")
        for name in ("aspp_channels", "low_level_channels", "decoder_channels"):
            require(f"model.{name}", getattr(self, name), getattr(self, name) > 0, "above 0")
