"""The command predict: masks, overlays and legends for images and videos."""

import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import Progress

from deeplab.config import PredictConfig
from deeplab.errors import UserError
from deeplab.files import write_json
from deeplab.prediction.inputs import Input, find_inputs, read_upright
from deeplab.prediction.predictor import Predictor, keras_predictor, tflite_predictor
from deeplab.prediction.tiles import predict_in_tiles
from deeplab.rendering import masks
from deeplab.rendering.progress import progress_bar
from deeplab.run_folder import open_model

SHARES_FILE = "shares.json"
_Predict = Callable[[np.ndarray], np.ndarray]


def run_prediction(config: PredictConfig) -> dict[str, dict[str, float]]:
    """Predict every image and video that `config.images` names, and write the results into `config.out`.

    For an image NAME: NAME_mask.png (class colors; the pixel values of the palette image are the ids), NAME_ids.png
    (8-bit gray, the ids), NAME_overlay.png, and NAME_legend.png (the overlay with class names and shares). For a video:
    NAME_overlay.mp4 and NAME_ids.mkv (gray, lossless). shares.json contains the shares of all inputs.

    Returns:
        For the name of each input, the share (0..1) of its pixels by class, largest first.

    Raises:
        UserError: there is no such run or image, or it cannot be read.
    """
    inputs = find_inputs(config.images)
    predictor, classes = _open_predictor(config)
    stretched = 0

    def predict(image: np.ndarray) -> np.ndarray:
        nonlocal stretched
        if config.tile and max(image.shape[:2]) > config.tile:
            return predict_in_tiles(predictor, image, config.tile, config.overlap)
        stretched += predictor.stretches(image)
        return predictor(image)

    shares = {}
    with progress_bar() as bar:
        for source in bar.track(inputs, description="inputs"):
            if source.video:
                counts = _predict_video(source, predict, config, bar)
            else:
                counts = _predict_image(source, predict, config, classes)
            shares[source.name] = masks.class_shares(counts, classes)
    write_json(Path(config.out) / SHARES_FILE, shares)
    _print_shares(shares, Path(config.out))
    if stretched:
        height, width = predictor.image_size or (0, 0)
        problem = f"{stretched} image(s) or frame(s) larger than the file's input of {height}x{width} pixels"
        warnings.warn(f"{problem} were stretched to it; tile={min(height, width)} keeps their resolution", stacklevel=2)
    return shares


def _open_predictor(config: PredictConfig) -> tuple[Predictor, tuple[str, ...]]:
    """Load the model of `config.run`; return it with its class names, () if they are unknown."""
    trained = open_model(config.run)
    if not trained.is_tflite:
        model = trained.load(config.output_stride)
        return keras_predictor(model, config.image_size, config.fit), trained.description.classes
    from deeplab.tflite.interpreter import TfliteModel

    file = TfliteModel(trained.tflite, config.threads)
    side = min(file.image_size)
    if config.tile is not None and config.tile > side and config.fit != "stretch":
        # Tiles exist to keep the resolution; larger ones would be stretched.
        raise UserError("tile", f"{config.tile} pixels exceed the file's input of {side}", f"use tile={side}")
    classes = file.labels or ()
    if not classes:
        # A network that cannot be imported has classes without names.
        with suppress(UserError):
            classes = trained.description.classes
    return tflite_predictor(file, config.fit), classes


def _predict_image(source: Input, predict: _Predict, config: PredictConfig, classes: tuple[str, ...]) -> np.ndarray:
    """Write the files of one image; return the number of pixels of each id, `[256]`."""
    image = read_upright(source.path)
    ids = predict(image)
    overlay = Image.fromarray(masks.overlay(image, ids, config.opacity))
    legend = masks.side_by_side(overlay, masks.draw_legend(ids, classes, overlay.height))
    written = {"mask": masks.color_mask(ids), "ids": masks.id_mask(ids), "overlay": overlay, "legend": legend}
    for kind, content in written.items():
        masks.save_png(content, Path(config.out) / f"{source.name}_{kind}.png")
    return masks.count_pixels(ids)


def _predict_video(source: Input, predict: _Predict, config: PredictConfig, bar: Progress) -> np.ndarray:
    """Write the files of one video; return the number of pixels of each id over all frames, `[256]`."""
    from deeplab.prediction import video

    properties, out = video.describe_video(source.path), Path(config.out)
    task = bar.add_task(source.path.name, total=properties.frames)
    counts = np.zeros(256, np.int64)
    with (
        video.overlay_writer(out / f"{source.name}_overlay.mp4", properties) as overlays,
        video.id_writer(out / f"{source.name}_ids.mkv", properties) as id_frames,
    ):
        for frame in video.read_frames(source.path):
            ids = predict(frame)
            overlays.write(masks.overlay(frame, ids, config.opacity))
            id_frames.write(ids)
            counts += masks.count_pixels(ids)
            bar.advance(task)
    bar.remove_task(task)
    if not counts.any():
        raise UserError(str(source.path), "contains no frames", "give a complete video")
    return counts


def _print_shares(shares: dict[str, dict[str, float]], out: Path) -> None:
    """Print the class shares of the first 20 inputs, and where the results are."""
    console = Console(highlight=False, soft_wrap=True)
    for name in list(shares)[:20]:
        console.print(f"{name}: " + ", ".join(f"{c} {share:.1%}" for c, share in shares[name].items()))
    if len(shares) > 20:
        console.print(f"... and {len(shares) - 20} more, all in {out / SHARES_FILE}")
    console.print(f"wrote the masks and overlays of {len(shares)} input(s) to {out}", style="dim")
