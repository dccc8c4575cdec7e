"""Trainings with a wrong teacher, wrong images without masks, or a wrong target of pruning."""

import pytest

from tests.hostile.case import Case, copy, fails, refused, replace, write

CASES = [
    refused("train training.distillation.weight=2", "training.distillation.weight: expected 1.0 without training."),
    refused("train training.distillation.teacher=run training.mining_top=0.5", "training.mining_top: expected 1 with"),
    refused(
        "train data.unlabelled=set",
        "data.unlabelled: images without masks need a teacher; add training.distillation.teacher=RUN",
    ),
    refused(
        "train data.unlabelled=set training.distillation.teacher=run training.distillation.ignored_pixels=false",
        "training.distillation.ignored_pixels: expected true with data.unlabelled",
    ),
    refused("train prune.target_ms=5", "pretrained: expected a trained network with prune, got None"),
    refused("train prune.images=5", "prune.images: expected 64 without prune.target_multiply_adds or prune.target_ms"),
    refused(
        "train pretrained=run prune.target_ms=5 prune.target_multiply_adds=1e9",
        "prune.target_ms: expected null with prune.target_multiply_adds",
    ),
    refused("train data=folder data.root=set pretrained=run prune.target_ms=5 plan=true", "plan: cannot be used"),
    fails("TINY_TRAIN training.distillation.teacher=nowhere", "training.distillation.teacher: nowhere: no such folder"),
    fails("TINY_TRAIN training.distillation.teacher=run run=run", "run=run would be its own teacher"),
    fails(
        "TINY_TRAIN training.distillation.teacher=run data.classes=[background,dog,cat]",
        "training.distillation.teacher: class 1 of run is cat, that of the data is dog",
    ),
    fails(
        "TINY_TRAIN plan=null training.distillation.teacher=run data.classes=[background,dog,cat]",
        "training.distillation.teacher: class 1 of run is cat, that of the data is dog",
    ),
    fails(
        "TINY_TRAIN training.distillation.teacher=run data.unlabelled=empty",
        "data.unlabelled=empty: no images; supported",
    ),
    fails("TINY_TRAIN training.distillation.teacher=run data.unlabelled=nowhere", "nowhere"),
    fails(
        "TINY_TRAIN training.distillation.teacher=run data.unlabelled=more",
        "data: data.unlabelled=more: 1 of 2 images: a file cannot be read (more/b.png: ",
        copy("photo.png", "more/a.png"),
        write("more/b.png", "no image"),
        writes=("new",),
    ),
    fails("TINY_TRAIN pretrained=nowhere prune.target_ms=5", "nowhere"),
    fails("TINY_TRAIN pretrained=imagenet prune.target_ms=5", "pretrained: imagenet is no trained network"),
    fails(
        "TINY_TRAIN pretrained=run model.head=v3plus prune.target_ms=5",
        "model: its settings describe another network than run",
    ),
    fails(
        "TINY_TRAIN pretrained=run data.classes=[background,dog,cat] prune.target_ms=5",
        "pretrained: class 1 of run is cat, that of the data is dog",
    ),
    fails(
        "TINY_TRAIN pretrained=run prune.target_multiply_adds=1e12 training.distillation.teacher=other",
        "training.distillation.teacher: class 1 of other is lion, that of the data is cat",
        copy("run/model.json", "other/model.json"),
        copy("run/model.weights.h5", "other/model.weights.h5"),
        replace("other/model.json", "cat", "lion"),
    ),
    fails(
        "TINY_TRAIN pretrained=run prune.target_multiply_adds=1000",
        "prune.target_multiply_adds: 0.001 M multiply-adds is out of reach, the smallest network needs",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_wrong_teacher_or_target_is_refused(case: Case, check):
    check(case)
