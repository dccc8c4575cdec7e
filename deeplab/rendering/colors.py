"""The colors of the classes, wherever they are shown."""

import numpy as np


def color_map(entries: int = 256) -> np.ndarray:
    """The colors of PASCAL VOC (VOCdevkit, VOClabelcolormap): `[entries, 3]` uint8, RGB; 255 is the near-white border.

    Bit 3i of an id becomes bit 7-i of red, bit 3i+1 that of green, bit 3i+2 that of blue, so that neighboring ids look
    different and 256 of them are distinct.
    """
    ids = np.arange(entries, dtype=np.int64)
    colors = np.zeros((entries, 3), np.int64)
    for i in range(8):
        for channel in range(3):
            colors[:, channel] |= ((ids >> (3 * i + channel)) & 1) << (7 - i)
    return colors.astype(np.uint8)
