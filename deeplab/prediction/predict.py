"""What predict.py does: masks, overlays and legends for pictures and videos."""

import warnings
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from deeplab.config import PredictConfig
from deeplab.errors import UserError
from deeplab.files import write_json
from deeplab.prediction.inputs import Input, find_inputs, read_upright
from deeplab.prediction.predictor import Predictor, keras_predictor, tflite_predictor
from deeplab.prediction.tiles import predict_in_tiles
from deeplab.rendering import masks as picture
from deeplab.run_folder import open_model

Labeller = Callable[[np.ndarray], np.ndarray]
SHARES = "shares.json"


def run_prediction(config: PredictConfig) -> dict[str, dict[str, float]]:
    """Labels every picture and video that `config.images` means.

    For a picture NAME it writes into `config.out`: NAME_mask.png (palette: colors to the eye, ids to a program),
    NAME_ids.png (8-bit gray ids), NAME_overlay.png, and NAME_legend.png (the overlay with class names and shares beside
    it). For a video: NAME_overlay.mp4 and NAME_ids.mkv (gray, lossless). shares.json holds the shares of all.

    Returns:
        By name of the input, the share of its pixels that each class takes, largest first; 0..1.

    Raises:
        UserError: no such run or pictures, or one that cannot be read.
    """
    inputs = find_inputs(config.images)
    predictor, classes = open_predictor(config)
    out = Path(config.out)
    rescaled = 0

    def label(image: np.ndarray) -> np.ndarray:
        nonlocal rescaled
        if config.tile and max(image.shape[:2]) > config.tile:
            return predict_in_tiles(predictor, image, config.tile, config.overlap)
        rescaled += predictor.rescales(image)
        return predictor(image)

    shares = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("pictures", total=len(inputs))
        for each in inputs:
            write = _write_video if each.video else _write_picture
            shares[each.name] = write(each, label, classes, out, config.opacity, bar)
            bar.advance(task)
    write_json(out / SHARES, shares)
    _tell(shares, out, inputs)
    if rescaled:
        size = predictor.image_size or (0, 0)
        warnings.warn(
            f"pictures or frames larger than the {size[0]}x{size[1]} pixels of the file, stretched to it: {rescaled}; "
            f"tile={min(size)} keeps their resolution",
            stacklevel=2,
        )
    return shares


def open_predictor(config: PredictConfig) -> tuple[Predictor, tuple[str, ...]]:
    """The model of `config.run`, and the names of its classes (none for a file that does not tell).

    Raises:
        UserError: there is no such run or file, or it is damaged.
    """
    trained = open_model(config.run)
    if trained.is_tflite:
        from deeplab.tflite.interpreter import TfliteModel

        model = TfliteModel(trained.tflite, config.threads)
        _tile_fits(config.tile, min(model.image_size), config.fit)
        return tflite_predictor(model, config.fit), model.labels or _names_inside(config.run)
    model = trained.load(config.output_stride)
    return keras_predictor(model, config.image_size, config.fit), trained.description.classes


def _names_inside(run: str) -> tuple[str, ...]:
    """The classes of a file without labels, where it is one that we know; none otherwise."""
    try:
        return open_model(run).description.classes
    except UserError:
        return ()


def _tile_fits(tile: int | None, side: int, fit: str) -> None:
    """Raises UserError for tiles that would be stretched, which they are there to avoid."""
    if tile is not None and tile > side and fit != "stretch":
        raise UserError("tile", f"{tile} pixels do not fit the model's {side}", f"use tile={side}")


def _write_picture(
    each: Input, label: Labeller, classes: tuple[str, ...], out: Path, opacity: float, _: Progress
) -> dict[str, float]:
    """All files of one picture; the shares of its classes."""
    image = read_upright(each.path)
    ids = label(image)
    drawn = Image.fromarray(picture.overlay(image, ids, opacity))
    picture.save_png(picture.color_mask(ids), out / f"{each.name}_mask.png")
    picture.save_png(picture.id_mask(ids), out / f"{each.name}_ids.png")
    picture.save_png(drawn, out / f"{each.name}_overlay.png")
    strip = picture.draw_legend(ids, classes, drawn.height)
    picture.save_png(picture.side_by_side(drawn, strip), out / f"{each.name}_legend.png")
    return picture.class_shares(picture.count_pixels(ids), classes)


def _write_video(
    each: Input, label: Labeller, classes: tuple[str, ...], out: Path, opacity: float, bar: Progress
) -> dict[str, float]:
    """Both files of one video; the shares of its classes over all frames."""
    from deeplab.prediction import video

    about = video.describe_video(each.path)
    task: TaskID = bar.add_task(each.path.name, total=about.frames)
    counts = np.zeros(256, np.int64)
    with ExitStack() as files:
        overlays = files.enter_context(video.overlay_writer(out / f"{each.name}_overlay.mp4", about))
        masks = files.enter_context(video.id_writer(out / f"{each.name}_ids.mkv", about))
        for frame in video.read_frames(each.path):
            ids = label(frame)
            overlays.write(picture.overlay(frame, ids, opacity))
            masks.write(ids)
            counts += picture.count_pixels(ids)
            bar.advance(task)
    bar.remove_task(task)
    if not counts.any():
        raise UserError(str(each.path), "has no frames", "give a whole video")
    return picture.class_shares(counts, classes)


def _tell(shares: dict[str, dict[str, float]], out: Path, inputs: list[Input]) -> None:
    """Prints what was found: the classes of each input, the first twenty at most."""
    console = Console(highlight=False)
    for name in list(shares)[:20]:
        console.print(f"{name}: " + ", ".join(f"{c} {share:.1%}" for c, share in shares[name].items()), soft_wrap=True)
    if len(shares) > 20:
        console.print(f"... and {len(shares) - 20} more, all in {out / SHARES}", soft_wrap=True)
    console.print(f"written: {len(inputs)} inputs' masks and overlays into {out}", style="dim", soft_wrap=True)
