"""The command export with page=FILE: writes a page that runs a .tflite file in a browser."""

import base64
import gzip
import hashlib
import io
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from markupsafe import Markup
from PIL import Image

from deeplab.config import Fit, PageConfig
from deeplab.datasets.image_files import read_image
from deeplab.datasets.shapes import CLASSES as DEMO_CLASSES
from deeplab.datasets.shapes import shapes_source
from deeplab.errors import UserError
from deeplab.files import atomic_write, check_writable, read_json
from deeplab.pixels import PIXEL_MEAN, PIXEL_STD
from deeplab.prediction.model_input import file_input
from deeplab.rendering.html import render_page
from deeplab.rendering.masks import color_map
from deeplab.run_folder import open_model
from deeplab.tflite.interpreter import TfliteModel
from deeplab.tflite.metadata import Metadata
from deeplab.tflite.tflite_file import TfliteFile, open_tflite, report_path
from deeplab.web.litert_js import PACKAGE, VERSION, load_litert_js

_FOLDER = Path(__file__).parent
_TEXTS = ("page.css", "page.js", "image_fit.js", "worker.js")

_POLICY = "POLICY-OF-THE-PAGE"
"""Stands for the content security policy until the page is rendered: the policy contains hashes of its scripts."""

_EXAMPLE_SIDE = 640
"""Maximum side of an example image in pixels."""

_EXAMPLE_SCENE = 133
"""Number of the drawn scene that is the example of the built-in demo: at its 161 pixels it contains four shapes."""

_REMEDIES = {
    "int64": "export it with output=logits, or with output=labels of this toolkit, which are int32",
    "int8": "export it with input_type and output_type uint8 or float32",
    "int16": "export it with input_type and output_type float32",
}


def run_page(config: PageConfig) -> None:
    """Write the page of a .tflite file, with progress lines on standard error, and print its path."""
    path = write_page(config, lambda line: print(line, file=sys.stderr, flush=True))
    print(f"written: {path} ({path.stat().st_size:,} bytes); open it in a browser")


def write_page(config: PageConfig, report_progress: Callable[[str], object] = lambda _: None) -> Path:
    """Write one HTML file that runs a .tflite file in any current browser, without a server or a network.

    The page contains the bytes of the .tflite file, LiteRT.js, the class names and colors, and the checks of the report
    next to the file. It fits images and masks as predict.py does, and so returns its class ids.

    Args:
        config: the .tflite file, the page, and how images are fitted.
        report_progress: called with a line of text before a part that takes seconds.

    Returns:
        The path of the page.

    Raises:
        UserError: the file is damaged or has dtypes that LiteRT.js cannot read, LiteRT.js cannot be fetched, or the
            example cannot be read. Nothing is written then.
    """
    source = Path(config.page)
    path = Path(config.out) if config.out is not None else source.with_suffix(".html")
    if source.suffix != ".tflite":
        raise UserError(f"page={source}", "is not the name of a .tflite file", "give FILE.tflite")
    if path.suffix != ".html":
        raise UserError("out", f"expected a name that ends in .html, got {config.out!r}", "change the name")
    check_writable(path)
    file = open_tflite(source)
    model = TfliteModel(file, threads=1)
    check_dtypes(file.name, model.input.dtype, model.output.dtype)
    fit = file_input(open_model(source), config.fit, model.image_size).fit
    html = _render(source, model, file, fit, _example(config.example, model), report_progress)
    with atomic_write(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return path


def check_dtypes(name: str, *dtypes: str) -> None:
    """Raise UserError unless LiteRT.js has tensors of these dtypes; `name` is the subject of the message."""
    for dtype in dtypes:
        if dtype not in ("float32", "int32", "uint8"):
            problem = f"has {dtype} input or output, and LiteRT.js reads float32, int32 and uint8 only"
            raise UserError(name, problem, _REMEDIES.get(dtype, "export it again"))


def _render(
    source: Path,
    model: TfliteModel,
    file: TfliteFile,
    fit: Fit,
    example: bytes | None,
    report_progress: Callable[[str], object],
) -> str:
    runtime = load_litert_js(report_progress)
    contents = {
        "loader": runtime.loader.encode(),
        "core": runtime.core.encode(),
        "wasm": runtime.wasm,
        "tflite": file.content,
        **({"example": example} if example is not None else {}),
    }
    classes = _class_names(source, model)
    html = render_page(
        "page.html",
        _FOLDER,
        name=source.name,
        policy=_POLICY,
        details=_details(model, file, classes),
        **_checks(source, file),
        facts=_facts(model, fit, classes),
        blocks={key: _packed(content) for key, content in contents.items()},
        example=example is not None,
        runtime=f"{PACKAGE} {VERSION}",
        texts={name: Markup((_FOLDER / name).read_text(encoding="utf-8")) for name in _TEXTS},
    )
    return html.replace(_POLICY, _policy(html), 1)


def _facts(model: TfliteModel, fit: Fit, classes: tuple[str, ...]) -> dict[str, Any]:
    """Return what LiteRT.js does not state about a file, but the page needs."""
    stated = model.metadata or Metadata()
    given, returned = model.input, model.output
    return {
        "fit": fit,
        "classes": classes,
        "colors": color_map().tobytes().hex(),
        "input": {
            "dtype": given.dtype,
            "height": model.image_size[0],
            "width": model.image_size[1],
            "mean": stated.mean or (PIXEL_MEAN,),
            "std": stated.std or (PIXEL_STD,),
            "padding": model.padding.tolist(),
        },
        "output": {
            "dtype": returned.dtype,
            "height": model.mask_size[0],
            "width": model.mask_size[1],
            "classes": 1 if model.returns_labels else returned.shape[3],
            "labels": model.returns_labels,
            "scale": returned.quantization.scale[0] if returned.quantization else None,
            "zeroPoint": returned.quantization.zero_point[0] if returned.quantization else 0,
        },
    }


def _class_names(source: Path, model: TfliteModel) -> tuple[str, ...]:
    """Return the names in the file or, of an official file, those of its data set; () if they are unknown."""
    if model.labels:
        return model.labels
    with suppress(UserError):
        return open_model(source).description.classes
    return ()


def _details(model: TfliteModel, file: TfliteFile, classes: tuple[str, ...]) -> dict[str, str]:
    count = model.classes or len(classes) or None
    return {
        "Size": f"{len(file.content):,} bytes",
        "Input": _tensor_text(model.input.dtype, model.input.shape),
        "Output": _tensor_text(model.output.dtype, model.output.shape),
        "Classes": f"{count or 'unknown'}" + (f": {', '.join(classes)}" if classes else ""),
        "SHA-256": hashlib.sha256(file.content).hexdigest(),
    }


def _tensor_text(dtype: str, shape: tuple[int, ...]) -> str:
    return f"{dtype} {' × '.join(map(str, shape[1:]))}"


def _checks(source: Path, file: TfliteFile) -> dict[str, Any]:
    """Return the checks in the report next to the file, and their summary; none if it is the report of another file."""
    path = report_path(source)
    if not path.is_file():
        return {"checks": [], "check_summary": f"no {path.name} next to the file"}
    report = read_json(path)
    if report.get("sha256") != hashlib.sha256(file.content).hexdigest():
        return {"checks": [], "check_summary": f"{path.name} belongs to another file (SHA-256 differs)"}
    try:
        checks = [{"title": _title(c), "state": c["state"], "result": c.get("result", "")} for c in report["checks"]]
    except (KeyError, TypeError) as error:
        raise UserError(str(path), f"is not a report of this toolkit ({error})", "export the file again") from error
    states = [str(check["state"]) for check in checks]
    summary = [f"{states.count(state)} {state}" for state in ("passed", "failed", "not checked") if state in states]
    return {"checks": checks, "check_summary": ", ".join(summary) or "none"}


def _title(check: Mapping[str, Any]) -> str:
    return f"{check['title']} {check.get('scope', '')}".rstrip()


def _example(path: str | None, model: TfliteModel) -> bytes | None:
    """Return a JPEG file to show first; without a path, a drawn scene for a model of the demo's classes.

    The scene has the input size of the model: stretched, its mask would be coarse.
    """
    if path is not None:
        image = Image.fromarray(read_image(Path(path)))
    elif model.labels == DEMO_CLASSES:
        side = max(32, min(*model.image_size, _EXAMPLE_SIDE))
        image = Image.fromarray(shapes_source("page", side).load(_EXAMPLE_SCENE).image)
    else:
        return None
    image.thumbnail((_EXAMPLE_SIDE, _EXAMPLE_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def _packed(content: bytes) -> str:
    """Return bytes compressed by gzip, in base64; equal bytes give equal text."""
    return base64.b64encode(gzip.compress(content, mtime=0)).decode("ascii")


def _policy(html: str) -> str:
    """Return a content security policy that refuses every request, and every script and style but those of the page."""
    scripts, styles = (
        " ".join(f"'sha256-{_hash(text)}'" for text in re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL))
        for tag in ("script", "style")
    )
    return (
        f"default-src 'none'; script-src {scripts} 'wasm-unsafe-eval'; style-src {styles}; worker-src blob:; "
        "connect-src blob:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
