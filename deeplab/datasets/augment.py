"""Random scaling, cropping, padding, flipping, rotation and color changes of labeled images.

The default is that of tensorflow/models research/deeplab, input_preprocess.py. An image is resampled once: bilinearly,
and its label with nearest-neighbor interpolation at the same positions (pixel centers at i + 1/2).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from deeplab.config import AugmentConfig
from deeplab.datasets.resizing import Size, nearest
from deeplab.datasets.source import IGNORE_LABEL
from deeplab.pixels import GRAY, Pixel

try:
    import cv2
except ImportError:
    # OpenCV is optional. It resizes in a third of TensorFlow's time; the results are equal up to rounding.
    cv2 = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Augmentation:
    """The drawn parameters of one augmentation. Pairs are (rows, columns) in pixels.

    Attributes:
        offset: first row and column of the window that is cut out of the image.
        window: size of the window.
        resized: size to which the window is resized. It fills the top left of the crop; padding fills the rest.
        flip: whether to flip left and right.
        angle: rotation about the image center before cutting, counter-clockwise, in radians.
        brightness, contrast, saturation: factors; 1 changes nothing.
    """

    offset: tuple[int, int]
    window: tuple[int, int]
    resized: tuple[int, int]
    flip: bool = False
    angle: float = 0.0
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0

    def cut(self, array: np.ndarray) -> np.ndarray:
        """Return the view of the window in an array `[h, w, ...]`."""
        (top, left), (rows, columns) = self.offset, self.window
        return array[top : top + rows, left : left + columns]


def augment(
    image: np.ndarray,
    label: np.ndarray,
    seed: tuple[int, int],
    config: AugmentConfig,
    crop_size: Size,
    padding: Pixel = GRAY,
) -> tuple[np.ndarray, np.ndarray]:
    """Augment an image and its label; the result depends on the arguments only.

    Args:
        image: `[h, w, 3]` uint8.
        label: `[h, w]` uint8.
        seed: two numbers, at least 0: the seed of the training and the position in its stream of examples.
        config: ranges of the parameters.
        crop_size: (height, width) of the result in pixels.
        padding: red, green and blue of the padding of the image: `pixels.mean_pixel` of the backbone.

    Returns:
        The padded image `[*crop, 3]` float32, 0..255, and the label `[*crop]` int32, padded with 255.
    """
    crop = np.empty((*crop_size, 3), np.float32), np.empty(crop_size, np.int32)
    augment_into(*crop, image, label, draw_augmentation(label.shape, seed, config, crop_size, label), padding)
    return crop


def augment_into(
    image_crop: np.ndarray,
    label_crop: np.ndarray,
    image: np.ndarray,
    label: np.ndarray,
    augmentation: Augmentation,
    padding: Pixel = GRAY,
) -> None:
    """Write the augmented image and label to `image_crop` (float32) and `label_crop` (int32), see `augment`."""
    if augmentation.angle:
        channels = (rotate(image[..., [c]], augmentation.angle, "BILINEAR", padding[c]) for c in range(3))
        image = np.concatenate(list(channels), axis=-1)
        label = rotate_label(label, augmentation.angle)
    rows, columns = augmentation.resized
    crop_image(image, augmentation, image_crop[:rows, :columns])
    adjust_colors(image_crop[:rows, :columns], augmentation)
    label_crop[:rows, :columns] = crop_label(label, augmentation)
    for crop, value in ((image_crop, padding), (label_crop, IGNORE_LABEL)):
        crop[:rows, columns:] = value
        crop[rows:] = value


def draw_augmentation(
    size: tuple[int, ...],
    seed: tuple[int, int],
    config: AugmentConfig,
    crop_size: Size,
    label: np.ndarray | None = None,
) -> Augmentation:
    """Draw the parameters for an image of `size` (h, w).

    If an axis is longer than the crop after scaling, the window is cut at whole pixels before resizing. Pixels outside
    the crop are thus never resampled; the scale of this axis is exact up to half a pixel of the window.

    With `config.rare_crops`, some windows are moved to a pixel of a rare class in `label` `[h, w]`, which is required.
    """
    rng = np.random.default_rng(seed)
    # The optional parameters come last: they do not change the crops when they are enabled.
    u_scale, u_top, u_left, u_flip, u_angle, *u_colors = rng.random(8)
    scale_range = config.max_scale - config.min_scale
    scale = config.min_scale + u_scale * scale_range
    if config.scale_step:
        steps = int(scale_range / config.scale_step + 1e-6)
        scale = config.min_scale + int(u_scale * (steps + 1)) * config.scale_step
    rows, columns = _axis(size[0], scale, u_top, crop_size[0]), _axis(size[1], scale, u_left, crop_size[1])
    offset, window, resized = zip(rows, columns, strict=True)
    strengths = (config.brightness, config.contrast, config.saturation)
    factors = (float(1 + strength * (2 * u - 1)) for strength, u in zip(strengths, u_colors, strict=True))
    angle = float(np.deg2rad(config.rotation) * (2 * u_angle - 1))
    augmentation = Augmentation(offset, window, resized, bool(u_flip < config.flip), angle, *factors)
    if config.rare_crops and label is not None and rng.random() < config.rare_crops:
        return _centered_on_rare_class(augmentation, label, config.rare_classes, *rng.random(2))
    return augmentation


def crop_image(image: np.ndarray, augmentation: Augmentation, out: np.ndarray) -> None:
    """Write the flipped and resized window of `image` `[h, w, c]` to `out` `[rows, columns, c]` float32."""
    content = augmentation.cut(image)
    if augmentation.flip:
        # numpy is slow in copying a view of reversed pixels.
        content = cv2.flip(content, 1) if cv2 is not None else content.take(np.arange(content.shape[1])[::-1], 1)
    if augmentation.window == augmentation.resized:
        out[...] = content
    elif cv2 is not None:
        # In float32, because OpenCV rounds the interpolation weights of uint8 images.
        cv2.resize(content.astype(np.float32), augmentation.resized[::-1], dst=out, interpolation=cv2.INTER_LINEAR)
    else:
        out[...] = resize_with_tensorflow(content, augmentation.resized)


def resize_with_tensorflow(content: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize `[h, w, c]` bilinearly to `size` (h, w), as float32; used if OpenCV is not installed."""
    with tf.device("cpu"):
        images = np.ascontiguousarray(content)[None]
        # np.asarray does not copy; .numpy() does.
        return np.asarray(tf.raw_ops.ResizeBilinear(images=images, size=size, half_pixel_centers=True))[0]


def crop_label(label: np.ndarray, augmentation: Augmentation) -> np.ndarray:
    """Return the window of a label `[h, w, ...]`, flipped and resized with nearest-neighbor interpolation."""
    rows, columns = (nearest(*sizes) for sizes in zip(augmentation.window, augmentation.resized, strict=True))
    if augmentation.flip:
        columns = augmentation.window[1] - 1 - columns
    content = augmentation.cut(label)
    # mode="clip" avoids a range check and a copy. Columns cost time per pixel and rows per row, so the columns are
    # selected while the array has fewer rows.
    if augmentation.resized[0] > augmentation.window[0]:
        return content.take(columns, 1, mode="clip").take(rows, 0, mode="clip")
    return content.take(rows, 0, mode="clip").take(columns, 1, mode="clip")


def adjust_colors(image: np.ndarray, augmentation: Augmentation) -> None:
    """Change saturation, contrast about the mean, and brightness of an image `[h, w, 3]` float32, 0..255, in place."""
    if augmentation.brightness == augmentation.contrast == augmentation.saturation == 1:
        return
    # The weights of red, green and blue in a gray value (ITU-R BT.601).
    gray = (image @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    changed = gray + np.float32(augmentation.saturation) * (image - gray)
    mean = gray.mean()
    changed = (mean + np.float32(augmentation.contrast) * (changed - mean)) * np.float32(augmentation.brightness)
    np.clip(changed, 0, 255, out=image)


def rotate(image: np.ndarray, angle: float, interpolation: str, fill: float) -> np.ndarray:
    """Rotate `[h, w, c]` by `angle` radians counter-clockwise about its center; corners get `fill`; returns float32."""
    center_x, center_y = (image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2
    cos, sin = np.cos(angle), np.sin(angle)
    # The transform maps output to input coordinates; y grows downwards.
    shift_x = center_x - cos * center_x + sin * center_y
    shift_y = center_y - sin * center_x - cos * center_y
    with tf.device("cpu"):
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=image[None].astype(np.float32),
            transforms=np.array([[cos, -sin, shift_x, sin, cos, shift_y, 0, 0]], np.float32),
            output_shape=image.shape[:2],
            fill_value=fill,
            interpolation=interpolation,
        )[0].numpy()


def rotate_label(label: np.ndarray, angle: float) -> np.ndarray:
    """Rotate a label `[h, w]` like its image, with nearest-neighbor interpolation; the corners are ignored."""
    return rotate(label[..., None], angle, "NEAREST", IGNORE_LABEL)[..., 0].astype(np.uint8)


def _centered_on_rare_class(
    augmentation: Augmentation, label: np.ndarray, rare_classes: Sequence[int], u_class: float, u_pixel: float
) -> Augmentation:
    """Return an augmentation whose window is centered on a pixel of a rare class, as far as the image allows.

    One of the rare classes in `label` `[h, w]` is chosen, then one of its pixels, by random numbers in [0, 1). Without
    such pixels the window stays.
    """
    counts = np.bincount(label.ravel(), minlength=256)
    present = [class_id for class_id in rare_classes if counts[class_id]]
    if not present:
        return augmentation
    chosen = present[int(u_class * len(present))]
    pixel = np.flatnonzero(label == chosen)[int(u_pixel * counts[chosen])]
    middle = (np.array(label.shape) - 1) / 2
    down, right = np.array(np.unravel_index(pixel, label.shape)) - middle
    # The image is rotated counter-clockwise about its center before the window is cut; rows grow downwards.
    cos, sin = np.cos(augmentation.angle), np.sin(augmentation.angle)
    center = middle + np.array((cos * down - sin * right, sin * down + cos * right))
    window = np.array(augmentation.window)
    top, left = np.clip(np.rint(center - (window - 1) / 2).astype(int), 0, np.array(label.shape) - window).tolist()
    return replace(augmentation, offset=(top, left))


def _axis(size: int, scale: float, u: float, crop_size: int) -> tuple[int, int, int]:
    """Return (offset, window, resized) of one axis; a random number `u` in [0, 1) determines the offset."""
    scaled = max(int(size * scale), 1)
    if scaled <= crop_size:
        return 0, size, scaled
    window = max(min(round(crop_size * size / scaled), size), 1)
    return int(u * (size - window + 1)), window, crop_size
