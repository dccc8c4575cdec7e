"""The starter model, imported and exported again, computes the same logits and has the same metadata."""

import json

import numpy as np
import pytest
from PIL import Image

from deeplab.config import ExportConfig
from deeplab.conversion.export import export
from deeplab.tflite.interpreter import TfliteModel
from tests.tflite.metadata_json import metadata_json


@pytest.mark.slow
def test_the_starter_exported_again_has_its_logits_and_its_metadata(official_models, voc_root, tmp_path):
    starter, again = official_models / "starter_deeplabv3_257_float.tflite", tmp_path / "again.tflite"
    data = {"source": "voc", "root": str(voc_root)}
    few = {"miou_images": 0, "agreement_images": 1}
    export(ExportConfig(str(starter), str(again), quantization="float32", output_stride=8, data=data, **few))
    original, exported = TfliteModel(starter), TfliteModel(again)
    for path in sorted((voc_root / "VOC2012" / "JPEGImages").glob("*.jpg"))[:5]:
        with Image.open(path) as photograph:
            image = np.asarray(photograph.convert("RGB").resize((257, 257)))
        assert np.abs(original(image)).max() > 5
        np.testing.assert_allclose(exported(image), original(image), atol=1e-3)
    golden = json.loads((official_models / "deeplabv3.json").read_text())
    assert contains(metadata_json(again.read_bytes()), golden)
    assert exported.labels == tuple((official_models / "labelmap.txt").read_text().split("\n")[:21])


def contains(actual: object, expected: object) -> bool:
    """Return whether every field of `expected` is in `actual` with its value; `actual` may hold more."""
    if isinstance(expected, dict):
        return isinstance(actual, dict) and all(k in actual and contains(actual[k], v) for k, v in expected.items())
    if isinstance(expected, list):
        return (
            isinstance(actual, list)
            and all(contains(a, e) for a, e in zip(actual, expected, strict=False))
            and (len(actual) >= len(expected))
        )
    return actual == expected
