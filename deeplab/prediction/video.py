"""Reading and writing videos, with PyAV (the libraries of FFmpeg)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from deeplab.errors import UserError
from deeplab.files import atomic_write


@dataclass(frozen=True)
class Video:
    """What a video file says about itself.

    Attributes:
        frames: their number, None where the file does not tell.
        rate: frames a second.
        size: (height, width) in pixels.
    """

    frames: int | None
    rate: Fraction
    size: tuple[int, int]


def describe_video(path: Path) -> Video:
    """Raises UserError where the file is no video that can be read."""
    with _opened(path) as container:
        stream = container.streams.video[0]
        rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
        seconds = float(container.duration / av.time_base) if container.duration else None
        frames = stream.frames or (round(seconds * rate) if seconds else None)
        return Video(frames, rate, (stream.height, stream.width))


def read_frames(path: Path) -> Iterator[np.ndarray]:
    """The frames of a video in order, `[h, w, 3]` uint8 RGB.

    Raises:
        UserError: the file is no video that can be read, or breaks off.
    """
    with _opened(path) as container:
        try:
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="rgb24")
        except av.FFmpegError as error:
            raise UserError(str(path), f"breaks off ({error.strerror})", "copy it again, or cut it there") from error


class FrameWriter:
    """Takes the frames of a video that is being written; made by `overlay_writer` and `id_writer`."""

    def __init__(self, container: Any, stream: Any, given: str) -> None:
        self._container, self._stream, self._given = container, stream, given

    def write(self, frame: np.ndarray) -> None:
        """One more frame: `[h, w, 3]` uint8 RGB, or `[h, w]` uint8 ids."""
        height, width = self._stream.height, self._stream.width
        whole = np.ascontiguousarray(frame[:height, :width])
        for packet in self._stream.encode(av.VideoFrame.from_ndarray(whole, format=self._given)):
            self._container.mux(packet)

    def finish(self) -> None:
        """Writes what the encoder still holds."""
        for packet in self._stream.encode():
            self._container.mux(packet)


@contextmanager
def overlay_writer(path: Path, video: Video) -> Iterator[FrameWriter]:
    """Writes RGB frames as H.264 in an .mp4 that every player shows; an odd last row or column is left out."""
    height, width = (side // 2 * 2 for side in video.size)
    options = {"crf": "20", "preset": "veryfast"}
    with _written(path, "mp4", "libx264", "yuv420p", "rgb24", (height, width), video.rate, options) as writer:
        yield writer


@contextmanager
def id_writer(path: Path, video: Video) -> Iterator[FrameWriter]:
    """Writes class ids without loss, as gray FFV1 in an .mkv: what is read back are the ids."""
    with _written(path, "matroska", "ffv1", "gray", "gray", video.size, video.rate, {}) as writer:
        yield writer


@contextmanager
def _written(
    path: Path,
    kind: str,
    codec: str,
    stored: str,
    given: str,
    size: tuple[int, int],
    rate: Fraction,
    options: dict[str, str],
) -> Iterator[FrameWriter]:
    """A writer whose file is whole or not there at all."""
    with atomic_write(path) as aside, av.open(str(aside), "w", format=kind) as container:
        stream: Any = container.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width = size
        stream.pix_fmt = stored
        writer = FrameWriter(container, stream, given)
        yield writer
        writer.finish()


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The open container, which has a video stream."""
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise UserError(str(path), f"is no video that can be read ({error.strerror})", "convert it to .mp4") from error
    with container:
        if not container.streams.video:
            raise UserError(str(path), "has no pictures in it", "give a video")
        yield container
