"""Reading and writing videos with PyAV (the libraries of FFmpeg)."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
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
    """The number of frames of a video (None if unknown), its frames per second, and (height, width) in pixels."""

    frames: int | None
    rate: Fraction
    size: tuple[int, int]


def describe_video(path: Path) -> Video:
    """Read the properties of a video; raises UserError if the file is not a readable video."""
    with _open(path) as container:
        stream = container.streams.video[0]
        rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
        seconds = float(container.duration / av.time_base) if container.duration else None
        frames = stream.frames or (round(seconds * rate) if seconds else None)
        return Video(frames, rate, (stream.height, stream.width))


def read_frames(path: Path) -> Iterator[np.ndarray]:
    """Yield the frames of a video in order, `[h, w, 3]` uint8 RGB.

    Raises:
        UserError: the file is not a readable video, or is truncated.
    """
    with _open(path) as container:
        try:
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="rgb24")
        except av.FFmpegError as error:
            raise UserError(str(path), f"is damaged ({error.strerror})", "copy it again, or trim it") from error


class FrameWriter:
    """Writes the frames of a video; created by `overlay_writer` and `id_writer`."""

    def __init__(self, container: Any, stream: Any, frame_format: str) -> None:
        self._container, self._stream, self._frame_format = container, stream, frame_format

    def write(self, frame: np.ndarray) -> None:
        """Write one frame: `[h, w, 3]` uint8 RGB, or `[h, w]` uint8 ids."""
        pixels = np.ascontiguousarray(frame[: self._stream.height, : self._stream.width])
        self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(pixels, format=self._frame_format)))


def overlay_writer(path: Path, video: Video) -> AbstractContextManager[FrameWriter]:
    """Write RGB frames atomically as H.264 in an .mp4 file, which all players show; crops an odd last row or column."""
    height, width = (side // 2 * 2 for side in video.size)
    cropped, options = Video(None, video.rate, (height, width)), {"crf": "20", "preset": "veryfast"}
    return _writer(path, "mp4", "libx264", "yuv420p", "rgb24", cropped, options)


def id_writer(path: Path, video: Video) -> AbstractContextManager[FrameWriter]:
    """Write class ids atomically and without loss, as gray FFV1 in an .mkv file."""
    return _writer(path, "matroska", "ffv1", "gray", "gray", video, {})


@contextmanager
def _writer(
    path: Path, kind: str, codec: str, stored_format: str, frame_format: str, video: Video, options: dict[str, str]
) -> Iterator[FrameWriter]:
    """Open a video file for writing and write it atomically."""
    with atomic_write(path) as temporary, av.open(str(temporary), "w", format=kind) as container:
        stream: Any = container.add_stream(codec, rate=video.rate, options=options)
        stream.height, stream.width = video.size
        stream.pix_fmt = stored_format
        yield FrameWriter(container, stream, frame_format)
        # The frames that the encoder still buffers.
        container.mux(stream.encode())


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """Open a file that has a video stream."""
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise UserError(str(path), f"is not a readable video ({error.strerror})", "convert it to .mp4") from error
    with container:
        if not container.streams.video:
            raise UserError(str(path), "contains no video stream", "give a video")
        yield container
