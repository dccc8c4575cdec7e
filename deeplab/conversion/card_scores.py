"""The scores in a model card, from evaluation.json and scores.json of a run, and the classes that are weak."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deeplab.config.command_line import argument_text
from deeplab.conversion.export_report import Report
from deeplab.errors import UserError
from deeplab.evaluation.compare import EVALUATION_FILE
from deeplab.evaluation.scores import is_weak
from deeplab.files import file_sha256, read_json
from deeplab.prediction.model_input import ModelInput
from deeplab.run_folder import TrainedModel, read_scores

FEW_IMAGES = 10
"""Below this number of validation images with a class, its IoU is called uncertain."""


@dataclass(frozen=True)
class CardScores:
    """What is known of the accuracy of a network or a file.

    Attributes:
        miou: 0..1; None if it is not known.
        low: lower end of the 95 % interval of the mIoU; None without an interval.
        high: upper end of it.
        per_class: IoU by class name; None for a class that neither labels nor predictions have.
        images: number of images; None if it is not known.
        data: name of the data and the split.
        protocol: output stride and how the scores were measured.
        reason: why the mIoU or its interval is not known.
    """

    miou: float | None = None
    low: float | None = None
    high: float | None = None
    per_class: Mapping[str, float | None] = field(default_factory=dict)
    images: int | None = None
    data: str = "not known"
    protocol: str = ""
    reason: str = ""


@dataclass(frozen=True)
class ClassRow:
    """A class in the card.

    Attributes:
        index: the class id.
        name: of the class.
        iou: of the network, 0..1; None if it is not known.
        share: share of the labeled training pixels that were checked, 0..1; None if it is not known.
        images: number of checked validation images that show it; None if it is not known.
    """

    index: int
    name: str
    iou: float | None
    share: float | None
    images: int | None


def network_scores(run: TrainedModel, report: Report) -> CardScores:
    """Return the scores of the network that the file was made from, at the output stride of the file.

    evaluation.json comes first, because it has intervals; a row counts if its weights are those of the run.
    """
    stride = report.origin["output_stride"]
    name = shlex.quote(f"run={argument_text(report.settings.get('run', run.path.name))}")
    command = f"python evaluate.py {name} output_stride={stride} measures it"
    sha256 = file_sha256(run.weights_file)
    row, data = _row(run, sha256, stride)
    if row is not None:
        return _scores(row, data, f"output stride {stride}, one scale, float32, {_input_text(row)}")
    scores = {} if run.is_tflite else read_scores(run.path)
    if str(stride) in scores:
        protocol = f"output stride {stride}, one scale, float32, at the end of the training"
        return _scores(scores[str(stride)], "the validation split of the training", protocol, command)
    return CardScores(reason=f"{command}, and a new export writes it here")


def file_scores(run: TrainedModel, report: Report) -> CardScores:
    """Return the scores of the exported file itself, if evaluation.json has a row of a file with the same bytes."""
    row, data = _row(run, report.sha256, None)
    if row is None:
        return CardScores(reason="evaluate.py measures it in one table with the run, and a new export writes it here")
    return _scores(row, data, f"the .tflite file, {_input_text(row)}")


def class_rows(classes: Sequence[str], scores: CardScores, splits: Sequence[Mapping[str, Any]]) -> list[ClassRow]:
    """Return the classes with their scores and their frequency in the training and the validation split."""
    train, val = splits if len(splits) == 2 else (None, None)
    total = sum(train["pixels"]) if train else 0
    return [
        ClassRow(
            i,
            name,
            scores.per_class.get(name),
            train["pixels"][i] / total if train and total else None,
            val["images"][i] if val else None,
        )
        for i, name in enumerate(classes)
    ]


def weak_classes(rows: Sequence[ClassRow], scores: CardScores) -> Iterator[str]:
    """Yield a sentence for each kind of class whose score is low, or rests on few images."""
    unseen = [row.name for row in rows if row.share == 0]
    if unseen:
        yield f"Not in the training masks that were checked: {', '.join(unseen)}."
    unlabeled = [row.name for row in rows if row.images == 0]
    if unlabeled:
        yield f"In no validation image that was checked, so not measured: {', '.join(unlabeled)}."
    if scores.miou is not None:
        measured = [row for row in rows if row.iou is not None and row.name not in unlabeled]
        weak = [row for row in measured if is_weak(row.iou or 0.0, scores.miou)]
        if weak:
            listed = ", ".join(f"{row.name} ({100 * (row.iou or 0):.1f})" for row in weak)
            yield f"Weak classes, with less than half of the mIoU: {listed}."
    few = [row for row in rows if row.images is not None and 0 < row.images < FEW_IMAGES]
    if few:
        listed = ", ".join(f"{row.name} ({row.images})" for row in few)
        yield f"IoU rests on fewer than {FEW_IMAGES} validation images: {listed}."


def _row(run: TrainedModel, sha256: str, stride: int | None) -> tuple[Mapping[str, Any] | None, str]:
    """Return the row of evaluation.json of the weights or the file with this SHA-256, and the name of the data."""
    try:
        evaluation = read_json(run.folder / EVALUATION_FILE)
    except UserError:
        return None, ""
    for row in evaluation.get("rows", ()):
        same = row.get("sha256") == sha256 and row.get("output_stride") == stride
        if same and row.get("scales") == [1.0] and not row.get("flip"):
            return row, str(evaluation.get("data"))
    return None, ""


def _input_text(row: Mapping[str, Any]) -> str:
    """Return how the images met the model, as evaluation.json states it."""
    size, stretched = row.get("image_size"), row.get("stretched_images", 0)
    larger = f", {stretched} larger ones stretched" if stretched and row.get("fit") in ("auto", "pad") else ""
    return f"images {ModelInput(row.get('fit', 'auto'), tuple(size) if size else None)}{larger}"


def _scores(row: Mapping[str, Any], data: str, protocol: str, remedy: str = "") -> CardScores:
    if row.get("miou") is None:
        return CardScores(reason=remedy or "the evaluation has no mIoU")
    low, high = row.get("miou_interval") or (None, None)
    reason = remedy or "evaluate.py was run with bootstrap_samples=0"
    return CardScores(row["miou"], low, high, row.get("per_class") or {}, row.get("images"), data, protocol, reason)
