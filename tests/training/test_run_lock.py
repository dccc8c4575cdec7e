import dataclasses
import subprocess
import sys

import pytest

from deeplab.config import TrainConfig, TrainingConfig
from deeplab.errors import UserError
from deeplab.files import read_json, write_json
from deeplab.training.run_lock import alone_in, claim


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path):
    """Also where the first is killed: nothing is left behind that somebody had to remove."""
    hold = f"""
import sys
from pathlib import Path
from deeplab.training.run_lock import alone_in
with alone_in(Path({str(tmp_path)!r})):
    print("held", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match="another process trains in this folder"), alone_in(tmp_path):
            pass
        process.kill()
    with alone_in(tmp_path):
        pass


def test_a_run_is_gone_on_with_by_the_same_settings_alone(tmp_path):
    config = TrainConfig(run=str(tmp_path), seed=3)
    claim(tmp_path, dataclasses.replace(config, seed=5))
    claim(tmp_path, config)  # Nothing was learned yet.
    (tmp_path / "model.weights.h5").touch()
    claim(tmp_path, dataclasses.replace(config, run="elsewhere", output_stride=(8,)))
    claim(tmp_path, dataclasses.replace(config, training=TrainingConfig(save_every=7, keep=3)))
    with pytest.raises(UserError, match=r"was trained with seed=3, not 4"):
        claim(tmp_path, dataclasses.replace(config, seed=4))
    with pytest.raises(UserError, match=r"was trained with training\.ema_decay=0\.0, not 0\.5"):
        claim(tmp_path, dataclasses.replace(config, training=TrainingConfig(ema_decay=0.5)))


def test_settings_that_a_run_was_begun_without_have_their_defaults(tmp_path):
    claim(tmp_path, TrainConfig())
    (tmp_path / "model.weights.h5").touch()
    content = read_json(tmp_path / "train.json")
    del content["training"]["ema_decay"], content["training"]["augment"]["flip"]
    write_json(tmp_path / "train.json", content)
    claim(tmp_path, TrainConfig())
    assert read_json(tmp_path / "train.json")["training"]["ema_decay"] == 0.0


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"run=.*file.*: cannot be written"), alone_in(tmp_path / "file"):
        pass
