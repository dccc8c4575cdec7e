"""mIoU and milliseconds of exported files are measured separately, and kept."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import export_targets
from benchmarks.export_targets import ROWS, Results, measure

SOURCE = SimpleNamespace(name="val", classes=("a", "b"), examples=lambda count: range(count))


def file(content: bytes) -> SimpleNamespace:
    return SimpleNamespace(content=content, name=f"{content.decode()}.tflite")


@pytest.fixture
def calls(monkeypatch):
    """The contents that mIoU was measured of. A file of n bytes has mIoU n / 100 and takes 2 n milliseconds."""
    found = []

    def evaluate(content, examples, _):
        found.append((content, len(examples)))
        return SimpleNamespace(miou=0.01 * len(content))

    def times(files, threads, rounds):
        assert threads == 1
        return {key: np.full(rounds, 2.0 * len(each.content)) for key, each in files.items()}

    monkeypatch.setattr(export_targets, "TfliteModel", lambda each: each)
    monkeypatch.setattr(export_targets, "tflite_predictor", lambda each: each.content)
    monkeypatch.setattr(export_targets, "evaluate", evaluate)
    monkeypatch.setattr(export_targets, "interleaved_milliseconds", times)
    return found


def test_times_are_added_to_the_miou_of_an_earlier_call(calls, tmp_path):
    files = {"web": file(b"one"), "npu": file(b"three")}
    measure(files, SOURCE, 4, 0, Results(tmp_path / "measured.json"))
    assert calls == [(b"one", 4), (b"three", 4)]
    measure(files, SOURCE, 0, 3, Results(tmp_path / "measured.json"))
    known = Results(tmp_path / "measured.json").of(files["npu"])
    assert (known["miou"], known["images"], known["milliseconds"]) == (pytest.approx(5), 4, 10)
    assert len(calls) == 2


def test_equal_files_are_measured_once_and_again_on_other_images(calls, tmp_path):
    files, results = {"web": file(b"one"), "task_library": file(b"one")}, Results(tmp_path / "measured.json")
    measure(files, SOURCE, 4, 0, results)
    measure(files, SOURCE, 4, 0, results)
    assert calls == [(b"one", 4)]
    measure(files, SOURCE, 8, 0, results)
    measure({"web": file(b"new")}, SOURCE, 8, 0, results)
    assert calls == [(b"one", 4), (b"one", 8), (b"new", 8)]


def test_the_int8_file_with_per_channel_kernels_is_next_to_the_npu_row():
    assert ROWS["npu, per_tensor=false"] == {"target": "npu", "per_tensor": False}
    assert ROWS["web"] == {"target": "web"}
