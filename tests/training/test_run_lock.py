import dataclasses
import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from deeplab.config import DataConfig, DistillationConfig, TrainConfig, TrainingConfig
from deeplab.errors import UserError
from deeplab.files import read_json, write_json
from deeplab.training.run_lock import check_settings, lock_run_folder, removed_if_refused


def test_second_process_is_refused_until_the_first_ends(tmp_path):
    """The first process is killed: its lock needs no cleaning up."""
    hold = f"""
import sys
from pathlib import Path
from deeplab.training.run_lock import lock_run_folder
with lock_run_folder(Path({str(tmp_path)!r})):
    print("held", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match="another process trains in this folder"), lock_run_folder(tmp_path):
            pass
        process.kill()
    with lock_run_folder(tmp_path):
        pass


def test_run_resumes_only_with_matching_settings(tmp_path):
    config = TrainConfig(run=str(tmp_path), seed=3)
    check_settings(tmp_path, dataclasses.replace(config, seed=5))
    check_settings(tmp_path, config)  # The folder has no weights yet.
    (tmp_path / "model.weights.h5").touch()
    check_settings(tmp_path, dataclasses.replace(config, run="elsewhere", output_stride=(8,)))
    check_settings(tmp_path, dataclasses.replace(config, training=TrainingConfig(save_every=7, log_every=3)))
    with pytest.raises(UserError, match=r"was trained with seed=3, not 4; restore the setting"):
        check_settings(tmp_path, dataclasses.replace(config, seed=4))
    with pytest.raises(UserError, match=r"was trained with training\.ema_decay=0\.0, not 0\.5"):
        check_settings(tmp_path, dataclasses.replace(config, training=TrainingConfig(ema_decay=0.5)))


def test_validations_that_decide_the_best_weights_stay_the_same_until_the_training_is_complete(tmp_path):
    training = TrainingConfig(evaluate_every=10, result="best")
    config = TrainConfig(data=DataConfig(source="shapes"), training=training, output_stride=(16,))
    check_settings(tmp_path, config)
    (tmp_path / "state").mkdir()
    (tmp_path / "state/step-00000010.npz").touch()
    with pytest.raises(UserError, match=r"was trained with output_stride=\[16\], not \[8\]"):
        check_settings(tmp_path, dataclasses.replace(config, output_stride=(8,)))
    (tmp_path / "model.weights.h5").touch()
    check_settings(tmp_path, dataclasses.replace(config, output_stride=(8,)))


def test_paths_may_be_given_in_another_way_when_a_run_resumes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = DataConfig(source="folder", root="set")
    check_settings(tmp_path, TrainConfig(data=data, pretrained="runs/float"))
    (tmp_path / "model.weights.h5").touch()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    absolute = TrainConfig(data=dataclasses.replace(data, root="../set"), pretrained=str(tmp_path / "runs/float"))
    check_settings(tmp_path, absolute)
    check_settings(tmp_path, dataclasses.replace(absolute, pretrained="../runs/float"))
    with pytest.raises(UserError, match="was trained with pretrained="):
        check_settings(tmp_path, dataclasses.replace(absolute, pretrained="runs/float"))


def test_the_teacher_and_unlabeled_images_may_be_given_in_another_way_when_a_run_resumes(tmp_path, monkeypatch):
    def config(folder: str) -> TrainConfig:
        distillation = DistillationConfig(teacher=f"{folder}teacher")
        data = DataConfig(unlabelled=f"{folder}more")
        return TrainConfig(data=data, training=TrainingConfig(distillation=distillation))

    monkeypatch.chdir(tmp_path)
    check_settings(tmp_path, config(""))
    (tmp_path / "model.weights.h5").touch()
    check_settings(tmp_path, config(f"{tmp_path}/"))
    with pytest.raises(UserError, match=r"was trained with data\.unlabelled="):
        check_settings(tmp_path, config("other/"))


def test_published_weights_are_stored_by_name(tmp_path):
    for name in ("official", "imagenet"):
        check_settings(tmp_path, TrainConfig(pretrained=name))
        assert read_json(tmp_path / "train.json")["pretrained"] == name


def test_settings_that_a_train_json_lacks_take_their_defaults(tmp_path):
    check_settings(tmp_path, TrainConfig())
    (tmp_path / "model.weights.h5").touch()
    content = read_json(tmp_path / "train.json")
    del content["training"]["ema_decay"], content["training"]["augment"]["flip"]
    write_json(tmp_path / "train.json", content)
    check_settings(tmp_path, TrainConfig())
    assert read_json(tmp_path / "train.json")["training"]["ema_decay"] == 0.0


def test_an_older_run_of_tfds_resumes_without_the_features_that_it_wrote_out(tmp_path):
    data = DataConfig(source="tfds", name="oxford_iiit_pet")
    check_settings(tmp_path, TrainConfig(data=data))
    (tmp_path / "model.weights.h5").touch()
    content = read_json(tmp_path / "train.json")
    content["data"] |= {"image_feature": "image", "label_feature": "segmentation_mask"}
    write_json(tmp_path / "train.json", content)
    check_settings(tmp_path, TrainConfig(data=data))
    check_settings(tmp_path, TrainConfig(data=dataclasses.replace(data, image_feature="image")))
    with pytest.raises(UserError, match=r"was trained with data\.image_feature=None, not photo"):
        check_settings(tmp_path, TrainConfig(data=dataclasses.replace(data, image_feature="photo")))


def test_unknown_setting_in_a_train_json_is_refused_by_name(tmp_path):
    check_settings(tmp_path, TrainConfig())
    (tmp_path / "model.weights.h5").touch()
    content = read_json(tmp_path / "train.json")
    content["training"]["keep"] = 2
    write_json(tmp_path / "train.json", content)
    with pytest.raises(UserError, match=r"training\.keep: unknown key"):
        check_settings(tmp_path, TrainConfig())


def test_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"run=.*file.*: cannot be written"), lock_run_folder(tmp_path / "file"):
        pass


def refuse(folder: Path, files: dict[str, str]) -> None:
    """Fail with a UserError after a start has written `files` into the run folder."""

    def start() -> None:
        for name, content in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(content)
        raise UserError("pretrained", "wrong")

    with pytest.raises(UserError, match="pretrained"), removed_if_refused(folder), lock_run_folder(folder):
        start()


STARTED = {"train.json": "{}", "plan.json": "{}", "data_check.json": '{"problems": []}', "data_check.png": ""}


def test_a_refused_start_leaves_no_folder_that_it_created(tmp_path):
    (tmp_path / "runs").mkdir()
    first_stage = {f"first_stage/{name}": content for name, content in STARTED.items()}
    refuse(tmp_path / "runs" / "a" / "b", STARTED | first_stage)
    assert list(tmp_path.rglob("*")) == [tmp_path / "runs"]


def test_a_refused_start_keeps_a_folder_that_existed(tmp_path):
    refuse(tmp_path, STARTED)
    assert STARTED.keys() < {path.name for path in tmp_path.iterdir()}


def test_a_refused_start_keeps_a_data_check_with_errors(tmp_path):
    warning, error = {"severity": "warning"}, {"severity": "error"}
    refuse(tmp_path / "a", STARTED | {"data_check.json": json.dumps({"problems": [warning]})})
    assert not (tmp_path / "a").exists()
    refuse(tmp_path / "a", STARTED | {"data_check.json": json.dumps({"problems": [warning, error]})})
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["data_check.json", "data_check.png"]


def test_a_refused_start_shows_its_error_although_its_name_is_too_long_for_a_folder(tmp_path):
    with pytest.raises(UserError, match="wrong"), removed_if_refused(tmp_path / ("a" * 300)):
        raise UserError("weights", "wrong")


def test_a_refused_start_shows_its_error_although_another_process_uses_the_folder(tmp_path):
    folder = tmp_path / "a"
    with ExitStack() as other:

        def start() -> None:
            other.enter_context(lock_run_folder(folder))
            raise UserError("weights", "wrong")

        with pytest.raises(UserError, match="wrong"), removed_if_refused(folder):
            start()
        assert (folder / ".lock").is_file()


def test_a_refused_start_shows_its_error_although_its_data_check_is_damaged(tmp_path):
    refuse(tmp_path / "a", STARTED | {"data_check.json": '{"problems": ['})
    assert STARTED.keys() < {path.name for path in (tmp_path / "a").iterdir()}


@pytest.mark.parametrize("name", ["log.csv", "state/step-00000010.npz", "pruned/model.json"])
def test_an_error_after_the_first_update_keeps_the_folder(name, tmp_path):
    refuse(tmp_path / "a", STARTED | {name: ""})
    assert STARTED.keys() | {name.split("/")[0]} < {path.name for path in (tmp_path / "a").iterdir()}
