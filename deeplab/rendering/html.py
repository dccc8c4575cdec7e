"""HTML pages: Jinja2 templates rendered to one file that needs neither a network nor a server."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from deeplab.rendering.charts import row_color
from deeplab.rendering.masks import overlay

_FOLDER = Path(__file__).parent / "templates"
_TEMPLATES = Environment(
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.globals["row_color"] = row_color


def render_page(template: str, folder: Path = _FOLDER, **context: Any) -> str:
    """Render a template that extends base.html, from `templates/` or from the `folder` of another package.

    The values of `context` are escaped, except those of type markupsafe.Markup, such as charts.
    """
    environment = _TEMPLATES.overlay(loader=FileSystemLoader((folder, _FOLDER)))
    return environment.get_template(template).render(context)


def image_triple(caption: str, image: np.ndarray, label: np.ndarray, prediction: np.ndarray) -> dict[str, Any]:
    """Prepare an image with its label and prediction for the macro `image_triples`, at most 300 pixels wide and high.

    The image is `[h, w, 3]` uint8, RGB; label (255 = ignore) and prediction are class ids `[h, w]` uint8.
    """
    images = {"image": image, "label": overlay(image, label, 0.6), "prediction": overlay(image, prediction, 0.6)}
    urls = {}
    for name, pixels in images.items():
        thumbnail, jpeg = Image.fromarray(pixels), io.BytesIO()
        thumbnail.thumbnail((300, 300))
        thumbnail.save(jpeg, "JPEG", quality=80)
        urls[name] = "data:image/jpeg;base64," + base64.b64encode(jpeg.getvalue()).decode("ascii")
    return {"caption": caption, "images": urls}
