"""The files of a frontier: what the command line names, and when a file is exported again."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.frontier_files import (
    Exports,
    Given,
    Grid,
    grid_exports,
    list_entries,
    parse_given,
    parse_quantization,
    parse_size,
)
from deeplab.config import ExportConfig
from deeplab.errors import UserError

SMALL = Grid(((None, "auto"),), (16,), (4,), (("int8", False),))


def test_a_model_may_state_its_fit():
    assert parse_given("runs/mine") == Given("runs/mine")
    assert parse_given("a,b.tflite") == Given("a,b.tflite")
    assert parse_given("a,b.tflite,fit=stretch") == Given("a,b.tflite", "stretch")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("own", (None, "auto")),
        ("own:stretch", (None, "stretch")),
        ("449", (449, "auto")),
        ("449:letterbox", (449, "letterbox")),
        ("161x241:pad", ((161, 241), "pad")),
    ],
)
def test_a_size_is_a_side_or_height_and_width_with_a_fit(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (parse_given, "a.tflite,fit=crop", "a.tflite,fit: expected one of auto, pad, letterbox, stretch, got 'crop'"),
        (parse_given, "runs/mine,fit=pad", "only a .tflite file has a fit"),
        (parse_size, "big", "--size: expected SIDE, HEIGHTxWIDTH or own, got 'big'"),
        (parse_size, "449:crop", "--size 449:crop: expected one of"),
        (parse_size, "20", "--size: expected "),
        (parse_quantization, "int4", "--quantization: expected float32, float16, dynamic, int8, int16x8, int8_per"),
    ],
)
def test_a_wrong_argument_is_named_with_what_is_expected(parse, text, message):
    with pytest.raises(UserError, match=re.escape(message)):
        parse(text)


def test_a_grid_exports_every_combination_under_names_that_differ():
    quantizations = (parse_quantization("int8"), parse_quantization("int8_per_tensor"))
    grid = Grid((parse_size("own"), parse_size("161x241:letterbox")), (16, 8), (4,), quantizations)
    configs = grid_exports("official", "official", grid, {"source": "voc"}, Path("out"))
    assert len({config.out for config in configs}) == len(configs) == 8
    assert configs[0].out == "out/official_int8_mask4.tflite"
    last = configs[-1]
    assert last.out == "out/official_int8_per_tensor_161x241_letterbox_os8_mask4.tflite"
    assert (last.image_size, last.fit, last.output_stride) == ((161, 241), "letterbox", 8)
    assert (last.quantization, last.per_tensor, last.mask_stride, last.data) == ("int8", True, 4, {"source": "voc"})


def test_a_model_that_is_given_twice_is_refused(official_models, tmp_path):
    file = str(official_models / "deeplabv3_mnv2_dm05_pascal_quant.tflite")
    with pytest.raises(UserError, match="is in the list twice"):
        list_entries([Given(file), Given(file)], SMALL, {}, tmp_path)
    link = tmp_path / "link.tflite"
    link.symlink_to(file)
    with pytest.raises(UserError, match=r"link\.tflite: is in the list twice"):
        list_entries([Given(file), Given(str(link))], SMALL, {}, tmp_path)
    found = list_entries([Given(file), Given(file, "stretch")], SMALL, {}, tmp_path)
    names = ["deeplabv3_mnv2_dm05_pascal_quant", "deeplabv3_mnv2_dm05_pascal_quant (stretch)"]
    assert [entry.name for entry, _ in found] == names
    assert [config for _, config in found] == [None, None]


@pytest.fixture
def written(monkeypatch) -> list[str]:
    """The names of the files that were exported; each contains its number."""
    found: list[str] = []

    def export(config: ExportConfig) -> None:
        found.append(Path(str(config.out)).name)
        Path(str(config.out)).write_bytes(str(len(found)).encode())

    monkeypatch.setattr("deeplab.conversion.export.export", export)
    return found


def test_a_file_is_exported_once_and_again_after_a_change(written, tmp_path):
    run = tmp_path / "tiny"
    run.mkdir()
    for name in ("model.json", "model.weights.h5"):
        (run / name).write_bytes(b"{}")
    (config,) = grid_exports(str(run), "tiny", SMALL, None, tmp_path)
    name = "tiny_int8_mask4.tflite"

    def make(changed: ExportConfig = config) -> None:
        Exports(tmp_path).make(changed, lambda _: None)

    make()
    make()
    assert written == [name]
    # Other settings under this name, other weights, another content, no file.
    (stretched,) = grid_exports(
        str(run), "tiny", Grid(((65, "stretch"),), (16,), (4,), (("int8", False),)), None, tmp_path
    )
    make(replace(stretched, out=config.out))
    assert len(written) == 2
    make()
    assert len(written) == 3
    (run / "model.weights.h5").write_bytes(b"other weights")
    make()
    assert len(written) == 4
    (tmp_path / name).write_bytes(b"other content")
    make()
    assert len(written) == 5
    (tmp_path / name).unlink()
    make()
    make()
    assert len(written) == 6
