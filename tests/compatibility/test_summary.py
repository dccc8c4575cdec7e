"""All verdicts on one file."""

from deeplab.compatibility.delegates import DelegateVerdict, OperatorVerdict
from deeplab.compatibility.rules import apps, delegates
from deeplab.compatibility.summary import Compatibility, compatibility
from deeplab.tflite.tflite_file import open_tflite
from tests.compatibility.test_apps import CASES as SEGMENTERS
from tests.compatibility.test_delegates import CASES


def test_the_text_has_a_row_with_its_source_for_each_app_and_delegate():
    found = compatibility(open_tflite(SEGMENTERS["257, 21 classes"][0]))
    words = " ".join(found.text().split())
    for item in (*apps().values(), *delegates().values()):
        assert item.title in words
        assert item.source.split(",")[0] in words
    assert "LiteRT" in found.xnnpack_here
    assert found.xnnpack_here in words
    assert found.gpu_analyzer in words
    assert "works on" not in words


def test_the_rows_of_a_target_are_those_asked_for():
    found = compatibility(open_tflite(SEGMENTERS["uint8"][0]))
    assert found.rows(["litert_js"]) == ["LiteRT.js, web page: opens"]
    assert [row.split(":")[0] for row in found.rows(["qnn", "coreml"])] == [
        "Qualcomm QNN (LiteRT NPU)",
        "Core ML (iOS)",
    ]


def test_a_file_that_segments_nothing_has_delegates_only():
    found = compatibility(open_tflite(CASES["mean"][0]))
    assert found.apps == ()
    assert "is not a segmentation model" in found.not_a_segmenter
    assert len(found.delegates) == len(delegates())
    assert "delegates 1 of 1, as the rules say" in found.xnnpack_here


def test_a_file_that_litert_cannot_run_still_has_verdicts():
    found = compatibility(open_tflite(CASES["mean, int64 axes"][0]))
    assert found.xnnpack_here.endswith("cannot run the file")
    assert len(found.delegates) == len(delegates())


def test_names_from_the_file_cannot_steer_the_terminal():
    operators = (
        OperatorVerdict("ADD", 1, "delegated", ""),
        OperatorVerdict("CUSTOM:\x1b[31m\x9b", 1, "falls back", "not in its list of operators"),
    )
    text = Compatibility((), "", (DelegateVerdict("x", "X", "source", "", operators),), "", "").text()
    assert r"CUSTOM:\x1b[31m\x9b 1" in text
