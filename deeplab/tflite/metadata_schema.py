"""The generated parser of the TFLite metadata schema (`ModelMetadataT` and the other classes of metadata_schema.fbs).

tflite-support and MediaPipe ship the same generated module. It is loaded from its file, because importing either
package takes seconds and needs native libraries.
"""

import importlib.util
from pathlib import Path
from types import ModuleType

from deeplab.errors import UserError

_PLACES = {
    "tensorflow_lite_support": "metadata/metadata_schema_py_generated.py",
    "mediapipe": "tasks/metadata/metadata_schema_py_generated.py",
}


def load_schema() -> ModuleType:
    """Load the generated module.

    Raises:
        UserError: neither tflite-support nor MediaPipe is installed.
    """
    for package, file in _PLACES.items():
        found = importlib.util.find_spec(package)
        for folder in (found.submodule_search_locations or ()) if found else ():
            spec = importlib.util.spec_from_file_location("tflite_metadata_schema", Path(folder) / file)
            if spec is not None and spec.loader is not None and (Path(folder) / file).is_file():
                module = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(module)
                return module
    raise UserError("TFLite metadata", "neither mediapipe nor tflite-support is installed", "pip install mediapipe")
