"""Videos are read back as they were written."""

from fractions import Fraction

import av
import numpy as np
import pytest

from deeplab.errors import UserError
from deeplab.prediction.video import Video, describe_video, id_writer, overlay_writer, read_frames


def frames_of_growing_brightness(count: int, height: int, width: int) -> list[np.ndarray]:
    return [np.full((height, width, 3), 40 + 20 * i, np.uint8) for i in range(count)]


def test_frames_are_read_back_in_order(tmp_path):
    path = tmp_path / "film.mp4"
    with overlay_writer(path, Video(None, Fraction(10), (48, 64))) as writer:
        for frame in frames_of_growing_brightness(7, 48, 64):
            writer.write(frame)
    video = describe_video(path)
    assert (video.frames, video.rate, video.size) == (7, 10, (48, 64))
    frames = list(read_frames(path))
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 7
    # The codec is lossy.
    np.testing.assert_allclose([frame.mean() for frame in frames], [40 + 20 * i for i in range(7)], atol=4)


def test_odd_last_row_and_column_are_cropped(tmp_path):
    path = tmp_path / "odd.mp4"
    with overlay_writer(path, Video(None, Fraction(25), (49, 65))) as writer:
        writer.write(np.zeros((49, 65, 3), np.uint8))
    assert describe_video(path).size == (48, 64)


def test_ids_are_stored_without_loss(tmp_path):
    path = tmp_path / "ids.mkv"
    ids = [np.random.default_rng(i).integers(0, 256, (33, 47)).astype(np.uint8) for i in range(3)]
    with id_writer(path, Video(None, Fraction(30), (33, 47))) as writer:
        for each in ids:
            writer.write(each)
    with av.open(str(path)) as container:
        read = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    np.testing.assert_array_equal(read, ids)


def test_failed_write_leaves_no_file(tmp_path):
    def fail() -> None:
        with overlay_writer(tmp_path / "a.mp4", Video(1, Fraction(5), (32, 32))) as writer:
            writer.write(np.zeros((32, 32, 3), np.uint8))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"not a video"])
def test_error_names_a_file_that_is_not_a_video(tmp_path, content):
    (tmp_path / "film.mp4").write_bytes(content)
    with pytest.raises(UserError, match=r"film\.mp4: is not a readable video"):
        describe_video(tmp_path / "film.mp4")
