"""The model card of an exported file: Markdown for people, from the report, the run folder and the file."""

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from deeplab.compatibility.targets import target_rows
from deeplab.config import ExportConfig, TrainConfig, fixed_height_width
from deeplab.config.command_line import command_line
from deeplab.conversion.card_scores import CardScores, class_rows, file_scores, network_scores, weak_classes
from deeplab.conversion.checks import CheckId
from deeplab.conversion.export_report import Report
from deeplab.data_check.check import stored_splits
from deeplab.files import atomic_write
from deeplab.prediction.model_input import ModelInput
from deeplab.rendering.markdown import render_markdown
from deeplab.run_folder import TrainedModel
from deeplab.tflite.flatbuffer import Tensor
from deeplab.tflite.interpreter import accepts_raw_pixels
from deeplab.tflite.tflite_file import TfliteFile, card_path

TEMPLATE = "model_card.md"

_LICENSE = """\
Not stated. Fill in the license of the model here: that of your training images and masks, and of the pretrained
weights, can restrict it. A new export to the same file keeps this section."""


def write_model_card(
    path: Path, report: Report, config: ExportConfig, run: TrainedModel, file: TfliteFile
) -> Path | None:
    """Write the model card next to the exported file `path`, atomically; a failure is a warning, never an error.

    The license that the user wrote into an existing card is kept.

    Args:
        path: the .tflite file.
        report: its report.
        config: the settings of the export.
        run: what was exported.
        file: the content of `path`.

    Returns:
        The path of the card; None if it could not be written.
    """
    card = card_path(path)
    try:
        text = model_card(report, config, run, file, existing_license(card))
        with atomic_write(card) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except Exception as error:
        # The card describes the file and is no part of it: whatever happens here, the export has succeeded.
        warnings.warn(f"{card}: not written: {error}; {path.name} and its report are complete", stacklevel=2)
        return None
    return card


def existing_license(card: Path) -> str:
    """Return the text below the heading License of a card, which the user may have changed, or that of a new card."""
    if not card.is_file():
        return _LICENSE
    _, heading, text = card.read_text(encoding="utf-8").rpartition("\n## License\n")
    return text.strip() if heading and text.strip() else _LICENSE


def model_card(report: Report, config: ExportConfig, run: TrainedModel, file: TfliteFile, license: str) -> str:
    """Return the model card as Markdown; what neither report, run nor file states is "not known" in it."""
    graph, training = file.graph, run.training
    image, mask = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    network, of_file = network_scores(run, report), file_scores(run, report)
    splits = stored_splits(run.folder, training.data) if training else []
    classes = class_rows(run.description.classes, network, splits)
    compatibility, target = report.compatibility, report.settings.get("target")
    return render_markdown(
        TEMPLATE,
        report=report,
        origin=report.origin,
        network=run.description.config,
        image=image,
        input_text=_input_text(image),
        output_text=_output_text(mask, report.origin["output"]),
        mask_stride=report.origin["mask_stride"],
        per_tensor=report.settings.get("per_tensor") or run.description.per_tensor,
        file_input=ModelInput(report.origin.get("fit", "auto"), (image.shape[1], image.shape[2])),
        training_input=_training_input(training),
        training=training,
        training_text=_training_text(training),
        data_name=data_name(training),
        splits=splits,
        scores=[("the network before the conversion", network), ("this file", of_file)],
        drop=next((c for c in report.checks if c.id == CheckId.MIOU_DROP), None),
        classes=classes,
        apps=compatibility.apps if compatibility else (),
        no_apps=compatibility.not_a_segmenter if compatibility else "not known",
        delegates=compatibility.delegates if compatibility else (),
        target=target,
        target_rows=compatibility.rows(target_rows(target)) if compatibility and target else [],
        limits=[*_limits(report, training, network, of_file, image), *weak_classes(classes, network)],
        unchecked=[c for c in report.checks if c.state == "not checked"],
        passed=[c for c in report.checks if c.state == "passed"],
        command=Markup(_command(report, config)),
        license=Markup(license),
    )


def data_name(training: TrainConfig | None) -> str:
    """Return the name of the training data, without the path of the folder that holds them."""
    if training is None:
        return "not known: the run is a .tflite file, which does not state its training data"
    data = training.data
    if data.source == "shapes":
        return "scenes that the toolkit draws (data=shapes)"
    parts = [f"data={data.source}", f"data.name={data.name}" if data.name else ""]
    folder = f"folder {Path(data.root).name}" if data.root else ""
    return ", ".join(part for part in (*parts, folder) if part)


def _input_text(image: Tensor) -> str:
    """Return what the values of the input are, for RGB bytes 0..255."""
    if image.dtype == "float32":
        return "RGB, float: byte / 127.5 - 1, so -1..1"
    if image.quantization is None or image.dtype not in ("uint8", "int8") or not accepts_raw_pixels(image):
        return f"RGB, {image.dtype}: real value byte / 127.5 - 1, {_quantization(image)}"
    return "RGB, the bytes of the image, 0..255" if image.dtype == "uint8" else "RGB, the bytes of the image minus 128"


def _output_text(mask: Tensor, output: str) -> str:
    """Return what the values of the output are."""
    if output == "labels":
        return "class ids, one per mask pixel"
    kind = "probabilities after the softmax" if output == "probabilities" else "scores before the softmax (logits)"
    quantization = f", {_quantization(mask)}" if mask.quantization else ""
    return f"{kind}{quantization}; the class of a mask pixel is the index of the maximum, on the stored values too"


def _quantization(tensor: Tensor) -> str:
    if tensor.quantization is None:
        return "not quantized"
    return f"real value = {tensor.quantization.scale[0]:.6g} * (stored - {tensor.quantization.zero_point[0]})"


def _training_input(training: TrainConfig | None) -> str:
    """Return how images met the network in the training."""
    if training is None:
        return "not known"
    size, resize = fixed_height_width(training.data.image_size), training.data.resize
    if size is None or resize == "none":
        return "crops of the images at their own size, scaled as stated below"
    return f"images {ModelInput(resize, size)} pixels"


def _training_text(training: TrainConfig | None) -> str:
    if training is None:
        return "not known"
    settings, augment = training.training, training.training.augment
    scales = f"{augment.min_scale:g} to {augment.max_scale:g} times the size of the images"
    start = f"from {Path(training.pretrained).name}" if training.pretrained else "from random weights"
    return (
        f"{start}, {settings.steps:,} updates of {settings.batch_size} crops of {_size(settings.crop)}, scaled by "
        f"{scales}; output stride {settings.output_stride}, {settings.optimizer}, learning rate "
        f"{settings.learning_rate:g}, batch norm {settings.batch_norm}, seed {training.seed}"
    )


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]} pixels"


def _limits(
    report: Report, training: TrainConfig | None, network: CardScores, of_file: CardScores, image: Tensor
) -> Iterator[str]:
    """Yield what the scores do not cover."""
    if training is None:
        yield "Training images, training masks and their license are not known from the imported file."
    elif training.data.source == "shapes":
        yield "Domain: drawn scenes with typical colors for each class. Photographs are another task."
    else:
        yield f"Domain: images like those of {data_name(training)}; other cameras, places and light were not measured."
    if training is not None:
        if training.data.resize == "none" and (size := (image.shape[1], image.shape[2])) != training.training.crop:
            crop = _size(training.training.crop)
            yield f"Scale: trained on crops of {crop} of images at their own size, used on images of {_size(size)}."
        if training.training.result == "best":
            yield "The weights are the best of several evaluations on the validation split, which favors its mIoU."
        if training.pretrained:
            yield f"What {Path(training.pretrained).name} was trained on is not part of this card."
    for name, scores in (("network", network), ("file", of_file)):
        if scores.miou is None:
            yield f"The mIoU of the {name} is not known: {scores.reason}."
        elif scores.low is None:
            yield f"The mIoU of the {name} has no interval: {scores.reason}."
    drop = next((c for c in report.checks if c.id == CheckId.MIOU_DROP), None)
    if drop is None or drop.state == "not checked":
        yield "The mIoU that the conversion costs was not measured."
    yield "No phone, GPU or NPU ran this file: which apps open it and what delegates take is by rule."


def _command(report: Report, config: ExportConfig) -> str:
    """Return the command that writes the file again, alone."""
    changes: Mapping[str, Any] = {"quantization": report.settings["quantization"]}
    if config.out is not None:
        changes = {**changes, "out": str(Path(config.out).with_name(report.file))}
    return command_line("python export.py", config, **changes)
