"""Published weights by name: `pretrained=official` and `run=official` fetch a file once and check it.

The module belongs to no package because `pretrained` and `run_folder` use it, and must not load TensorFlow.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from deeplab.errors import UserError
from deeplab.files import file_sha256

LOCATION = "DEEPLAB_WEIGHTS"
"""Environment variable with the folder of the files, or with the http(s) address of a mirror of them."""

TIMEOUTS = (2.0, 20.0)
"""Seconds until a connection, to each address of a host, and until the next bytes."""

SIMILAR_NAME = 0.85
"""Minimum similarity of a mistyped name, above that of paths that contain a name, such as my_official."""

_CORAL = "https://raw.githubusercontent.com/google-coral/test_data/104342d2d3480b3e66203073dac24f4e2dbb4c41"
_SUPPORT = "https://raw.githubusercontent.com/tensorflow/tflite-support/dd3362ea685bb7ab1f7268c81ec567d3b720ae57"


@dataclass(frozen=True)
class PublishedFile:
    """A file of published weights.

    Attributes:
        file: its name in the cache, in the folder and on the mirror of `DEEPLAB_WEIGHTS`.
        address: where its publisher keeps it, at a fixed commit.
        sha256: of its content.
    """

    file: str
    address: str
    sha256: str


PUBLISHED = {
    "official": PublishedFile(
        "deeplabv3_mnv2_pascal_quant.tflite",
        f"{_CORAL}/deeplabv3_mnv2_pascal_quant.tflite",
        "350af47fd346ea6d74b58833a351f583ba860e9806ec5bd292ff8d8f1f249398",
    ),
    "official_050": PublishedFile(
        "deeplabv3_mnv2_dm05_pascal_quant.tflite",
        f"{_CORAL}/deeplabv3_mnv2_dm05_pascal_quant.tflite",
        "0470d2a782aa54eeeb99d32e7b6b3fb7722905c7c4f5d26bd957ec861366d48b",
    ),
    "starter": PublishedFile(
        "starter_deeplabv3_257_float.tflite",
        f"{_SUPPORT}/tensorflow_lite_support/cc/test/testdata/task/vision/deeplabv3.tflite",
        "9711334db2b01d5894feb8ed0f5cb3e97d125b8d229f8d8692f625801818f5ef",
    ),
}
"""By name: MobileNetV2 with head v3 and the classes of PASCAL VOC, Apache-2.0. `official` has depth multiplier 1.0 and
`official_050` 0.5, both uint8 of 513 pixels; `starter` is the float model of TensorFlow Lite, 0.5 and 257 pixels."""


def published_name(source: str | os.PathLike[str]) -> str | None:
    """Return the name of published weights that `source` is; None for others, and for a path that exists."""
    return str(source) if str(source) in PUBLISHED and not os.path.exists(source) else None


def local_file(source: str | os.PathLike[str]) -> Path:
    """Return `source` as a path; for the name of published weights, their file, downloaded into the cache if needed.

    Raises:
        UserError: the file cannot be downloaded or written, is missing in the folder, or has another checksum. No
            file is left.
    """
    name = published_name(source)
    if name is None:
        return Path(source)
    published, location = PUBLISHED[name], os.environ.get(LOCATION, "")
    if not location:
        return _download(name, published, published.address)
    if location.startswith(("http://", "https://")):
        return _download(name, published, f"{location.rstrip('/')}/{published.file}")
    path = Path(location) / published.file
    if not path.is_file():
        raise UserError(str(path), f"no such file in the folder of {LOCATION}", f"put {published.address} there")
    if (actual := file_sha256(path)) != published.sha256:
        problem = f"expected SHA-256 {published.sha256[:12]}..., got {actual[:12]}..."
        raise UserError(str(path), problem, f"replace it by {published.address}")
    return path


def _download(name: str, published: PublishedFile, address: str) -> Path:
    """Return the file in the cache, downloaded from `address` if it is missing or damaged."""
    # Imported here because most commands download nothing.
    import pooch
    import requests
    from tqdm import tqdm

    path = Path(pooch.os_cache("deeplab")) / published.file
    if path.is_file() and file_sha256(path) == published.sha256:
        return path
    pooch.get_logger().setLevel("ERROR")
    print(f"Downloading {name} from {address} ...", file=sys.stderr, flush=True)
    elsewhere = f"download {published.address} elsewhere, and save it as {path}"
    try:
        # disable=None shows the bar on a terminal only. pooch replaces the total, which must not be None.
        with tqdm(total=1, unit="B", unit_scale=True, leave=False, disable=None) as bar:
            downloader = pooch.HTTPDownloader(progressbar=bar, timeout=TIMEOUTS)
            pooch.retrieve(address, published.sha256, path.name, path.parent, downloader=downloader)
    except requests.RequestException as error:
        raise UserError(name, f"cannot be downloaded ({_reason(error)})", elsewhere) from error
    except OSError as error:
        raise UserError(
            str(path), f"cannot be written ({error.strerror or error})", f"set {LOCATION}=FOLDER"
        ) from error
    except ValueError as error:
        problem = f"{address} has another SHA-256 than {published.sha256[:12]}..."
        raise UserError(name, problem, elsewhere) from error
    return path


def _reason(error: Exception) -> str:
    """Return why a request failed, in a few words."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"{error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return "no answer"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke"
    return str(error).partition("\n")[0][:100]
