"""The starter model, imported and exported again, is the starter model."""

import json

import numpy as np
import pytest
from PIL import Image

from deeplab.config import ExportConfig
from deeplab.conversion.export import export
from deeplab.tflite.interpreter import TfliteModel
from deeplab.tflite.metadata import metadata_json


@pytest.mark.slow
def test_the_starter_exported_again_gives_its_logits_and_carries_its_metadata(official_models, voc_root, tmp_path):
    starter, again = official_models / "starter_deeplabv3_257_float.tflite", tmp_path / "again.tflite"
    data = {"source": "voc", "root": str(voc_root)}
    export(
        ExportConfig(
            run=str(starter),
            out=str(again),
            quantization="float32",
            output_stride=8,
            data=data,
            miou_images=0,
            agreement_images=1,
        )
    )
    one, other = TfliteModel(starter), TfliteModel(again)
    pictures = sorted((voc_root / "VOC2012" / "JPEGImages").glob("*.jpg"))[:5]
    for path in pictures:
        with Image.open(path) as picture:
            image = np.asarray(picture.convert("RGB").resize((257, 257)))
        assert np.abs(one(image)).max() > 5
        np.testing.assert_allclose(other(image), one(image), atol=1e-3)
    golden = json.loads((official_models / "deeplabv3.json").read_text())
    ours = metadata_json(again)
    assert contains(ours, golden)
    assert other.labels == tuple((official_models / "labelmap.txt").read_text().split("\n")[:21])


def contains(found: object, wanted: object) -> bool:
    """Whether every field of `wanted` is in `found` with its value; `found` may hold more."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(k in found and contains(found[k], v) for k, v in wanted.items())
    if isinstance(wanted, list):
        return (
            isinstance(found, list)
            and all(contains(f, w) for f, w in zip(found, wanted, strict=False))
            and (len(found) >= len(wanted))
        )
    return found == wanted
