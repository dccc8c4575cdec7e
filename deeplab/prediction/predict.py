"""The command predict: masks, overlays and legends for images and videos."""

import glob
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import Progress

from deeplab.config import PredictConfig, TrainConfig, fixed_height_width, is_given
from deeplab.datasets.image_files import read_image, shorten
from deeplab.errors import UserError, printable
from deeplab.files import check_writable, write_json
from deeplab.prediction.inputs import Input, find_inputs
from deeplab.prediction.model_input import ModelInput, file_input, network_input
from deeplab.prediction.predictor import Predictor, keras_predictor, tflite_predictor
from deeplab.prediction.tiles import predict_in_tiles
from deeplab.rendering import masks
from deeplab.rendering.console import plain_console, progress_bar
from deeplab.run_folder import TRAIN_FILE, TrainedModel, open_model

SHARES_FILE = "shares.json"


def run_prediction(config: PredictConfig) -> dict[str, dict[str, float]]:
    """Predict every image and video that `config.images` names, and write the results into `config.out`.

    For an image NAME: NAME_mask.png (class colors; the pixel values of the palette image are the ids), NAME_ids.png
    (8-bit gray, the ids), NAME_overlay.png, and NAME_legend.png (the overlay with class names and shares). For a video:
    NAME_overlay.mp4 and NAME_ids.mkv (gray, lossless). shares.json contains the shares of all inputs.
    With `format="voc"`, only NAME.png for each image: the palette image alone, as the VOC test server expects it.

    Returns:
        For the name of each input, the share (0..1) of its pixels by class, largest first.

    Raises:
        UserError: there is no such run or image. An input that cannot be predicted is named in a warning and skipped;
            the error with their number is raised after all others are written.
    """
    inputs = find_inputs(config.images)
    check_writable(Path(config.out) / SHARES_FILE)
    images = Path(config.images)
    folder = images.parent if glob.has_magic(images.name) else images
    if folder.is_dir() and folder.resolve() == Path(config.out).resolve():
        problem = f"{config.out} is the folder of the images: the next run would take the masks for images"
        raise UserError("out", problem, "choose another folder")
    if config.format == "voc":
        _check_voc_inputs(inputs, config)
    model = _open_model(config)
    shares, skipped = {}, []
    with progress_bar() as bar:
        for source in bar.track(inputs, description="inputs"):
            try:
                counts = _predict_video(source, model, bar) if source.video else _predict_image(source, model)
            except UserError as error:
                if len(inputs) == 1:
                    raise
                skipped.append(source)
                warnings.warn(f"skipped {source.path}: {error.problem}", stacklevel=2)
                continue
            shares[source.name] = masks.class_shares(counts, model.classes)
    if shares:
        _report(shares, config)
    for note in model.size_notes():
        warnings.warn(note, stacklevel=2)
    if skipped:
        names = shorten([source.path.name for source in skipped])
        problem = f"{len(skipped)} of {len(inputs)} inputs were skipped: {names}"
        raise UserError(f"images={config.images}", problem, "restore or remove these; the others are written")
    return shares


@dataclass(eq=False)
class _Model:
    """The loaded model and how images meet it.

    Attributes:
        config: of the command.
        predictor: the model.
        classes: names by id; () if they are unknown.
        training: settings of the training, which state at what size the run was evaluated; None if they are unknown.
        stretched: number of images and frames that were stretched so far.
        own_size: number of images and frames that were larger than the image size and ran at their own.
    """

    config: PredictConfig
    predictor: Predictor
    classes: tuple[str, ...]
    training: TrainConfig | None = None
    stretched: int = 0
    own_size: int = 0

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Return the class ids `[h, w]` uint8 of an image `[h, w, 3]` uint8, in tiles if it is larger than a tile."""
        tile = self.config.tile
        part = image[:tile, :tile]
        self.stretched += self.predictor.stretches(part)
        self.own_size += self.predictor.runs_at_own_size(part)
        if tile and max(image.shape[:2]) > tile:
            return predict_in_tiles(self.predictor, image, tile, self.config.overlap)
        return self.predictor(image)

    def size_notes(self) -> list[str]:
        """Return how the sizes of the images differed from those of the network or of the evaluation."""
        size = self.predictor.image_size
        if self.stretched and self.predictor.fit == "auto" and size:
            problem = f"{self.stretched} image(s) or frame(s) larger than the file's input of {_text(size)} pixels"
            return [f"{problem} were stretched to it; {_tiles(size)} instead, at full resolution"]
        if self.training is None:
            return []
        if self.training.data.min_resize_value is not None:
            scaled = (
                f"the run was evaluated on images scaled by data.min_resize_value={self.training.data.min_resize_value}"
            )
            return [f"{scaled}, but these were not scaled"]
        if self.predictor.fit in ("letterbox", "stretch"):
            return []
        evaluated = fixed_height_width(self.training.eval_size)
        if size != evaluated:
            evaluation = f"at {_text(evaluated)} pixels" if evaluated else "with each image at its own size"
            return [
                f"images were padded to {_text(size) if size else 'no size'}, but the run was evaluated {evaluation}"
            ]
        if self.own_size and size:
            problem = f"{self.own_size} image(s) or frame(s) larger than {_text(size)} pixels ran at their own size"
            return [f"{problem}; the run was evaluated at {_text(size)}; {_tiles(size)} instead"]
        return []


def _tiles(size: Sequence[int]) -> str:
    return f"tile={min(size)} splits them into overlapping tiles of this side"


def _text(size: Sequence[int]) -> str:
    return f"{size[0]}x{size[1]}"


def _check_voc_inputs(inputs: Sequence[Input], config: PredictConfig) -> None:
    """Raise UserError unless all inputs are images whose names can be those of the results, in `config.out`."""
    if is_given(config, "opacity"):
        raise UserError("opacity", "format=voc writes no overlays", "remove opacity")
    names = [source.path.stem for source in inputs]
    for source in inputs:
        if source.video:
            raise UserError("format=voc", f"{source.path} is a video", "give images only")
        if names.count(source.path.stem) > 1:
            problem = f"several images are called {source.path.stem}"
            raise UserError("format=voc", problem, "give images with different names")
        if (Path(config.out) / f"{source.path.stem}.png").absolute() == source.path.absolute():
            raise UserError("out", f"{source.path} would be overwritten", "choose another folder")


def _open_model(config: PredictConfig) -> _Model:
    """Load the model of `config.run` with its class names."""
    trained = open_model(config.run)
    if not trained.is_tflite:
        return _open_run(trained, config)
    from deeplab.tflite.interpreter import TfliteModel

    file = TfliteModel(trained.tflite, config.threads)
    side = min(file.image_size)
    fit = _checked_for_tiles(file_input(trained, config.fit, file.image_size), config).fit
    if config.tile is not None and config.tile > side and config.fit != "stretch":
        # Tiles exist to keep the resolution; larger ones would be stretched.
        raise UserError("tile", f"{config.tile} pixels exceed the file's input of {side}", f"use tile={side}")
    classes = file.labels or ()
    if not classes:
        # A network that cannot be imported has classes without names.
        with suppress(UserError):
            classes = trained.description.classes
    return _Model(config, tflite_predictor(file, fit), classes)


def _open_run(trained: TrainedModel, config: PredictConfig) -> _Model:
    """Load the network of a run folder; images are fitted as in its training, to the size at which it was evaluated."""
    training = trained.training if (trained.path / TRAIN_FILE).is_file() else None
    given = network_input(trained, config.fit, config.image_size, training.eval_size if training else None)
    size = _checked_for_tiles(given, config).size
    if config.image_size is None and size and config.tile and config.tile < max(size):
        # Padding small tiles to the size of the evaluation would waste the memory that they save.
        size = (config.tile, config.tile)
    predictor = keras_predictor(trained.load(config.output_stride), size, given.fit)
    return _Model(config, predictor, trained.description.classes, training)


def _checked_for_tiles(given: ModelInput, config: PredictConfig) -> ModelInput:
    """Return `given`; raise UserError if tiles are requested of a model that expects whole images at its size."""
    if config.tile is not None and (given.fit == "letterbox" or (given.fit == "stretch" and config.fit == "auto")):
        problem = f"whole images are {given}, so that tiles would show the network another scale"
        raise UserError("tile", problem, "remove tile, or add fit=pad")
    return given


def _predict_image(source: Input, model: _Model) -> np.ndarray:
    """Write the files of one image; return the number of pixels of each id, `[256]`."""
    image, out = read_image(source.path), Path(model.config.out)
    try:
        ids = model.predict(image)
    except UserError as error:
        raise (error.about(str(source.path)) if error.subject == "image" else error) from error
    if model.config.format == "voc":
        masks.save_png(masks.color_mask(ids), out / f"{source.path.stem}.png")
        return masks.count_pixels(ids)
    overlay = Image.fromarray(masks.overlay(image, ids, model.config.opacity))
    legend = masks.side_by_side(overlay, masks.draw_legend(ids, model.classes, overlay.height))
    contents = {"mask": masks.color_mask(ids), "ids": masks.id_mask(ids), "overlay": overlay, "legend": legend}
    masks.save_pngs({out / f"{source.name}_{kind}.png": content for kind, content in contents.items()})
    return masks.count_pixels(ids)


def _predict_video(source: Input, model: _Model, bar: Progress) -> np.ndarray:
    """Write the files of one video; return the number of pixels of each id over all frames, `[256]`."""
    from deeplab.prediction import video

    properties, out = video.describe_video(source.path), Path(model.config.out)
    task = bar.add_task(printable(source.path.name), total=properties.frames)
    counts = np.zeros(256, np.int64)
    with (
        video.overlay_writer(out / f"{source.name}_overlay.mp4", properties) as overlays,
        video.id_writer(out / f"{source.name}_ids.mkv", properties) as id_frames,
    ):
        for frame in video.read_frames(source.path):
            ids = model.predict(frame)
            overlays.write(masks.overlay(frame, ids, model.config.opacity))
            id_frames.write(ids)
            counts += masks.count_pixels(ids)
            bar.advance(task)
        if not counts.any():
            raise UserError(str(source.path), "contains no frames", "give a complete video")
    bar.remove_task(task)
    return counts


def _report(shares: dict[str, dict[str, float]], config: PredictConfig) -> None:
    """Write the class shares, and print those of the first 20 inputs and where the results are."""
    console, out = plain_console(), Path(config.out)
    if config.format == "voc":
        console.print(f"wrote {len(shares)} mask(s) to {out}", style="dim", soft_wrap=True)
        return
    write_json(out / SHARES_FILE, shares)
    for name in list(shares)[:20]:
        text = ", ".join(f"{c} {masks.share_text(share)}" for c, share in shares[name].items())
        console.print(f"{printable(name)}: {text}", soft_wrap=True)
    if len(shares) > 20:
        console.print(f"... and {len(shares) - 20} more, all in {out / SHARES_FILE}", soft_wrap=True)
    console.print(f"wrote the masks and overlays of {len(shares)} input(s) to {out}", style="dim", soft_wrap=True)
