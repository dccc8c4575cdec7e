"""Sources of weights that are refused whatever their format."""

import pytest

from deeplab.config import ModelConfig
from deeplab.errors import UserError
from deeplab.model.build import build_model
from deeplab.pretrained import import_weights

NO_FORMAT = "has no known weights format; give a .tflite or .h5 file, a run folder"


@pytest.fixture(scope="module")
def narrow():
    return build_model(ModelConfig(depth_multiplier=0.25, head="v3", aspp_rates=()), image_size=33)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("notes.tflite", b"not a model at all", "tflite"),
        ("x.ckpt", b"12345678", NO_FORMAT),
        ("none.h5", None, "no such file or folder"),
    ],
)
def test_a_file_without_weights_is_refused(name, content, problem, tmp_path, narrow):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        import_weights(narrow, tmp_path / name)
    assert caught.value.subject == str(tmp_path / name)
    assert problem in str(caught.value)


def test_a_folder_without_weights_is_refused(tmp_path, narrow):
    with pytest.raises(UserError, match="has no known weights format"):
        import_weights(narrow, tmp_path)
