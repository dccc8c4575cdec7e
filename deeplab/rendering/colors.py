"""The colors of the classes."""

import numpy as np


def color_map(entries: int = 256) -> np.ndarray:
    """Return the PASCAL VOC colors (VOCdevkit, VOClabelcolormap): `[entries, 3]` uint8, RGB; 255 is near-white.

    Bit 3i of an id becomes bit 7-i of red, bit 3i+1 of green and bit 3i+2 of blue. Neighboring ids thus differ clearly,
    and all 256 colors are distinct.
    """
    ids = np.arange(entries, dtype=np.int64)
    colors = np.zeros((entries, 3), np.int64)
    for i in range(8):
        for channel in range(3):
            colors[:, channel] |= ((ids >> (3 * i + channel)) & 1) << (7 - i)
    return colors.astype(np.uint8)
