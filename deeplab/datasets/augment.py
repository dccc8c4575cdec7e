"""The official augmentation, drawn first and resampled once: scale, random crop, padding and flip.

Pictures are resampled bilinearly and labels to the nearest, both at the same positions: the center of a pixel of the
result lies at the center of what it covers. Rotation and photometric jitter come on top where asked for.
"""

import threading
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from deeplab.config import AugmentConfig
from deeplab.datasets.source import IGNORE_LABEL

try:
    import cv2
except ImportError:
    # OpenCV is no requirement: it resamples in a third of the time, to the same values but for rounding.
    cv2 = None  # type: ignore[assignment]

PADDING_GRAY = 127.5
"""Fills the picture below and right of its content: zero after the network's normalization."""

_scratch = threading.local()

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Draw:
    """What an augmentation does to a picture; whole pixels, rows before columns.

    Attributes:
        start: first row and column taken.
        taken: rows and columns taken.
        drawn: rows and columns that they fill in the crop, at its top left; padding fills the rest.
        flip: whether left and right change places.
        angle: counter-clockwise turn about the picture's center before anything is taken, radians.
        brightness, contrast, saturation: factors, 1 changes nothing.
    """

    start: tuple[int, int]
    taken: tuple[int, int]
    drawn: tuple[int, int]
    flip: bool = False
    angle: float = 0.0
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0


def augment(
    image: np.ndarray, label: np.ndarray, seed: tuple[int, int], config: AugmentConfig, crop_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Scales, crops, pads and flips a picture together with its label; a function of its arguments alone.

    Numbers as in tensorflow/models research/deeplab, input_preprocess.py.

    Args:
        image: `[h, w, 3]` uint8.
        label: `[h, w]` uint8.
        seed: two numbers, at least 0; those of the training and of the position in its stream.
        config: ranges of the draws.
        crop_size: side of the result in pixels.

    Returns:
        The picture `[crop, crop, 3]` float32, 0..255, padded with 127.5, and the label `[crop, crop]` int32, padded
        with 255.
    """
    crop = np.empty((crop_size, crop_size, 3), np.float32), np.empty((crop_size, crop_size), np.int32)
    augment_into(*crop, image, label, draw((image.shape[0], image.shape[1]), seed, config, crop_size))
    return crop


def augment_into(
    image_crop: np.ndarray, label_crop: np.ndarray, image: np.ndarray, label: np.ndarray, plan: Draw
) -> None:
    """Writes the augmented picture `[crop, crop, 3]` float32 and label `[crop, crop]` int32 where they are wanted."""
    if plan.angle:
        image, label = rotated(image, plan.angle, "BILINEAR", PADDING_GRAY), turned_label(label, plan.angle)
    rows, columns = plan.drawn
    picture = image_crop[:rows, :columns]
    take_bilinear(image, plan, picture)
    jitter(picture, plan)
    image_crop[:rows, columns:] = PADDING_GRAY
    image_crop[rows:] = PADDING_GRAY
    label_crop[:rows, :columns] = take_nearest(label, plan)
    label_crop[:rows, columns:] = IGNORE_LABEL
    label_crop[rows:] = IGNORE_LABEL


def draw(size: tuple[int, int], seed: tuple[int, int], config: AugmentConfig, crop_size: int) -> Draw:
    """Draws what is done to a picture of `size` (h, w).

    An axis that is longer than the crop after scaling is cut in the picture itself, at whole pixels, so that nothing
    outside the crop is ever resampled; the scale of such an axis is met to half a pixel in what is taken.
    """
    rng = np.random.default_rng(seed)
    # The optional draws come last: switching one on leaves the crops as they were.
    pick, above, beside, mirror, turn, *light = rng.random(8)
    scale = _scale(pick, config)
    rows = _axis(size[0], scale, above, crop_size)
    columns = _axis(size[1], scale, beside, crop_size)
    start, taken, drawn = zip(rows, columns, strict=True)
    strengths = (config.brightness, config.contrast, config.saturation)
    factors = (1 + strength * (2 * u - 1) for strength, u in zip(strengths, light, strict=True))
    angle = np.deg2rad(config.rotation) * (2 * turn - 1)
    return Draw(start, taken, drawn, bool(mirror < config.flip), float(angle), *map(float, factors))


def take_bilinear(image: np.ndarray, plan: Draw, out: np.ndarray) -> None:
    """Writes what is taken of `image` `[h, w, c]`, resampled to `plan.drawn`, to `out` `[rows, columns, c]` float32."""
    content = _content(image, plan)
    if plan.flip:
        content = mirrored(content)
    if plan.taken == plan.drawn:
        out[...] = content
    elif cv2 is not None:
        # In float, for OpenCV rounds the weights of bytes; straight to where it belongs, for memory is what costs.
        cv2.resize(_in_float(content), plan.drawn[::-1], dst=out, interpolation=cv2.INTER_LINEAR)
    else:
        out[...] = resized_by_tensorflow(content, plan.drawn)


def mirrored(content: np.ndarray) -> np.ndarray:
    """`content` `[h, w, c]`, left and right changed; a copy, for numpy's view of pixels backwards is slow to read."""
    if cv2 is not None:
        return cv2.flip(content, 1)
    copy = np.empty(content.shape, content.dtype)
    for channel in range(content.shape[2]):
        copy[..., channel] = content[:, ::-1, channel]
    return copy


def _in_float(content: np.ndarray) -> np.ndarray:
    """A copy in float32 that is good until the next call in this thread."""
    memory = getattr(_scratch, "memory", None)
    if memory is None or memory.size < content.size:
        memory = _scratch.memory = np.empty(content.size, np.float32)
    copy = memory[: content.size].reshape(content.shape)
    np.copyto(copy, content)
    return copy


def resized_by_tensorflow(content: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`content` `[h, w, c]` resampled bilinearly to `size` (h, w), float32, where there is no OpenCV."""
    with tf.device("cpu"):
        images = np.ascontiguousarray(content)[None]
        # Not .numpy(), which copies.
        return np.asarray(tf.raw_ops.ResizeBilinear(images=images, size=size, half_pixel_centers=True))[0]


def take_nearest(label: np.ndarray, plan: Draw) -> np.ndarray:
    """What is taken of `label` `[h, w, ...]`, each pixel the nearest one of the picture; same type."""
    rows, columns = (_nearest(taken, drawn) for taken, drawn in zip(plan.taken, plan.drawn, strict=True))
    if plan.flip:
        columns = plan.taken[1] - 1 - columns
    content = _content(label, plan)
    # The indices are right; "clip" spares numpy a check and a copy. Columns cost by the pixel, rows by the row.
    if plan.drawn[0] > plan.taken[0]:
        return content.take(columns, 1, mode="clip").take(rows, 0, mode="clip")
    return content.take(rows, 0, mode="clip").take(columns, 1, mode="clip")


def jitter(picture: np.ndarray, plan: Draw) -> None:
    """Changes the light of a picture `[h, w, 3]` float32, 0..255: saturation, contrast about the mean, brightness."""
    if plan.brightness == plan.contrast == plan.saturation == 1:
        return
    gray = (picture @ _LUMA)[..., None]
    changed = gray + np.float32(plan.saturation) * (picture - gray)
    mean = gray.mean()
    changed = (mean + np.float32(plan.contrast) * (changed - mean)) * np.float32(plan.brightness)
    np.clip(changed, 0, 255, out=picture)


def rotated(image: np.ndarray, angle: float, interpolation: str, fill: float) -> np.ndarray:
    """`image` `[h, w, c]` turned by `angle` radians counter-clockwise about its center, as float32, corners filled."""
    middle_x, middle_y = (image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2
    cos, sin = np.cos(angle), np.sin(angle)
    # The operator wants where each pixel of the result comes from; rows grow downwards.
    shift_x = middle_x - cos * middle_x + sin * middle_y
    shift_y = middle_y - sin * middle_x - cos * middle_y
    with tf.device("cpu"):
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=image[None].astype(np.float32),
            transforms=np.array([[cos, -sin, shift_x, sin, cos, shift_y, 0, 0]], np.float32),
            output_shape=image.shape[:2],
            fill_value=fill,
            interpolation=interpolation,
        )[0].numpy()


def turned_label(label: np.ndarray, angle: float) -> np.ndarray:
    """`label` `[h, w]` turned with its picture, each pixel the nearest one, corners ignored."""
    return rotated(label[..., None], angle, "NEAREST", IGNORE_LABEL)[..., 0].astype(np.uint8)


def _scale(pick: float, config: AugmentConfig) -> float:
    """A factor from the configured set for a number in [0, 1)."""
    span = config.max_scale - config.min_scale
    if config.scale_step == 0:
        return config.min_scale + pick * span
    steps = int(span / config.scale_step + 1e-6)
    return config.min_scale + int(pick * (steps + 1)) * config.scale_step


def _axis(size: int, scale: float, place: float, crop_size: int) -> tuple[int, int, int]:
    """(start, taken, drawn) of one axis; `place` in [0, 1) says where the cut lies."""
    scaled = max(int(size * scale), 1)
    if scaled <= crop_size:
        return 0, size, scaled
    taken = max(min(round(crop_size * size / scaled), size), 1)
    return int(place * (size - taken + 1)), taken, crop_size


def _content(image: np.ndarray, plan: Draw) -> np.ndarray:
    (top, left), (rows, columns) = plan.start, plan.taken
    return image[top : top + rows, left : left + columns]


def _nearest(taken: int, drawn: int) -> np.ndarray:
    """Indices 0..taken-1 of the pixels that hold the centers of `drawn` evenly spread ones, in whole numbers."""
    return (2 * np.arange(drawn) + 1) * taken // (2 * drawn)
