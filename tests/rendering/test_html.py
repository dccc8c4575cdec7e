"""Pages are rendered from templates, and every value is escaped."""

import base64
import io

import jinja2
import numpy as np
import pytest
from PIL import Image

from deeplab.rendering.html import image_triple, render_page

CONTEXT = {
    "title": "run <b> & more",
    "refresh_seconds": None,
    "state": "running",
    "progress": 40.0,
    "summary": "<script>",
    "tiles": [],
    "notices": [],
    "names": {},
    "miou_chart": None,
    "classes": [],
    "charts": {"Loss": "<svg/>"},
    "examples": [],
}


def test_values_are_escaped():
    page = render_page("training.html", **CONTEXT)
    assert "<title>run &lt;b&gt; &amp; more</title>" in page
    assert "&lt;script&gt;" in page
    assert "&lt;svg/&gt;" in page


def test_a_missing_value_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match="summary"):
        render_page("training.html", **{name: value for name, value in CONTEXT.items() if name != "summary"})


def test_the_images_of_a_triple_are_thumbnails_in_data_urls():
    image = np.full((200, 600, 3), 100, np.uint8)
    label, prediction = np.full((200, 600), 1, np.uint8), np.full((200, 600), 2, np.uint8)
    triple = image_triple("one", image, label, prediction)
    assert triple["caption"] == "one"
    assert list(triple["images"]) == ["image", "label", "prediction"]
    # Two fifths of the image and three fifths of (128, 0, 0) for class 1, (0, 128, 0) for class 2.
    for url, expected in zip(triple["images"].values(), [(100, 100, 100), (117, 40, 40), (40, 117, 40)], strict=True):
        kind, content = url.split(",")
        assert kind == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(content))) as thumbnail:
            assert thumbnail.size == (300, 100)
            assert np.abs(np.subtract(thumbnail.getpixel((150, 50)), expected)).max() <= 3
