"""The metadata of a file as the Task Library's own reader prints them."""

import ctypes
import json
from typing import Any

import pytest


def metadata_json(content: bytes) -> dict[str, Any]:
    """Return the Task Library's part of the metadata, in the form of the documents that tflite-support publishes."""
    libusb_package = pytest.importorskip("libusb_package", reason="tflite-support is not installed")

    ctypes.CDLL(str(libusb_package.get_library_path()), mode=ctypes.RTLD_GLOBAL)
    from tensorflow_lite_support.metadata.python import metadata

    return json.loads(metadata.MetadataDisplayer.with_model_buffer(bytearray(content)).get_metadata_json())
