"""The example folder is a valid folder of images and masks."""

import numpy as np
import pytest
from PIL import Image

from benchmarks.example_folder import main
from deeplab.config import DataConfig
from deeplab.datasets.open import open_source
from deeplab.datasets.shapes import CLASSES


def test_the_folder_has_images_masks_and_class_names_that_data_folder_reads(tmp_path, capsys):
    main([str(tmp_path / "scenes"), "--images", "5", "--width", "100", "--height", "64"])
    assert "5 images and masks" in capsys.readouterr().out
    sources = [open_source(DataConfig(source="folder", root=str(tmp_path / "scenes")), s) for s in ("train", "val")]
    # A fifth is held out.
    assert [source.size for source in sources] == [4, 1]
    assert sources[0].classes == CLASSES
    example = sources[0].load(0)
    assert example.image.shape == (64, 100, 3)
    assert set(np.unique(example.label)) <= {*range(7), 255}
    assert len(np.unique(example.label)) > 2
    with Image.open(tmp_path / "scenes" / "masks" / "000.png") as mask:
        assert mask.mode == "L"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["."], "exists; name a new folder"),
        (["new", "--width", "0"], "--width 0: expected a positive number"),
        (["new", "--images", "-1"], "--images -1: expected a positive number"),
    ],
)
def test_an_existing_folder_and_sizes_below_one_are_refused(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(arguments)
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
