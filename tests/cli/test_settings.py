import pytest

from deeplab.cli.settings import compose_settings, given_keys
from deeplab.errors import UserError


@pytest.fixture
def configs(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "voc.yaml").write_text("source: voc\n")
    (tmp_path / "data" / "folder.yaml").write_text("source: folder\n")
    (tmp_path / "work.yaml").write_text("defaults:\n  - data: voc\n  - _self_\nsteps: 3\n")
    return tmp_path


@pytest.mark.parametrize(
    ("argument", "key", "value"),
    [
        ("steps=5", "steps", 5),
        ("output_stride=[16,8]", "output_stride", [16, 8]),
        ("run=/a/b-c_d.e", "run", "/a/b-c_d.e"),
        ("images=/my photos (1).jpg", "images", "/my photos (1).jpg"),
        ("out=it's", "out", "it's"),
        ("out=a=b", "out", "a=b"),
        ("data=folder", "data", {"source": "folder"}),
        ("data.root=/x; y: z", "data", {"source": "voc", "root": "/x; y: z"}),
    ],
)
def test_an_argument_becomes_a_setting(argument, key, value, configs):
    assert compose_settings("work", [argument], configs)[key] == value


def test_the_yaml_file_gives_the_rest(configs):
    assert compose_settings("work", ["run=x"], configs) == {"data": {"source": "voc"}, "steps": 3, "run": "x"}


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("data=vox", "data=vox: unknown choice; did you mean 'voc'?"),
        ("data=zzz", "data=zzz: unknown choice; use one of folder, voc"),
        ("quick", "quick: not a setting; write key=value, such as data=voc, or --help"),
        ("--multirun", "--multirun: not a setting; write key=value, such as data=voc, or --help"),
        (
            "steps=[1,2",
            "steps=[1,2: is no list, mapping or quoted text; close every bracket and quote, and quote text with "
            "special characters: \"'[a] b.png'\"",
        ),
        ("hydra.run.dir=x", "hydra.run.dir=x: hydra's own settings are not used; leave it out"),
    ],
)
def test_a_wrong_argument_is_refused_in_one_line(argument, line, configs):
    with pytest.raises(UserError) as raised:
        compose_settings("work", [argument], configs)
    assert str(raised.value) == line


def test_the_composed_settings_can_be_printed(configs, capsys):
    assert compose_settings("work", ["--cfg", "job", "steps=7"], configs) is None
    assert capsys.readouterr().out == "data:\n  source: voc\nsteps: 7\n"


def test_keys_of_the_arguments_are_given_by_hand():
    assert given_keys(["run=a=b", "data=voc", "data.root=x", "--cfg", "job"]) == {"run", "data", "data.root"}
    mapping = ["training={steps: 5, augment: {flip: 0}}", "model={}", "first_stage='{x'"]
    assert given_keys(mapping) == {"training.steps", "training.augment.flip", "model", "first_stage"}


@pytest.mark.parametrize(
    ("arguments", "key", "value"), [("steps=1 steps=2", "steps", 2), ("data=voc data=folder", "data", "folder")]
)
def test_the_last_value_of_a_repeated_key_counts_with_a_warning(arguments, key, value, configs):
    with pytest.warns(UserWarning, match=f"{key} is given twice; {key}={value} counts"):
        settings = compose_settings("work", arguments.split(), configs)
    assert settings[key] == ({"source": value} if key == "data" else value)
