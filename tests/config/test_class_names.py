import pytest

from deeplab.config import DataConfig
from deeplab.config.class_names import check_class_names, check_same_classes
from deeplab.errors import UserError


def test_valid_names_are_returned():
    names = ["background", "traffic light", "Stra\u00dfe", "\u8def"]
    assert check_class_names(names, "classes.txt") == tuple(names)
    assert len(check_class_names([str(i) for i in range(255)], "classes.txt")) == 255


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a", ""), "expected a name for class 1, got ''"),
        (("a", " b"), "expected a name for class 1, got ' b'"),
        (("a", "b", "a"), "classes 0 and 2 have the same name 'a'"),
        (("a", "b\x1b[31m"), "the name of class 1 has a control character"),
        (("a", "b\u202e"), "the name of class 1 has a control character"),
        ((), "expected 2 to 255 class names, got 0"),
        (tuple(map(str, range(256))), "expected 2 to 255 class names, got 256"),
    ],
)
def test_invalid_names_are_refused(names: tuple[str, ...], message: str):
    with pytest.raises(UserError, match=f"classes.txt: {message}"):
        check_class_names(names, "classes.txt")


def test_the_names_in_a_config_are_checked():
    with pytest.raises(UserError, match=r"data.classes: classes 0 and 1 have the same name 'a'"):
        DataConfig(classes=("a", "a"))


def test_a_model_and_data_with_the_same_classes_may_spell_them_differently():
    check_same_classes(
        "teacher", "run", ("background", "Dining table", "tv"), ("background", "diningtable", "tvmonitor")
    )
    check_same_classes("teacher", "run", ("+", "-"), ("+", "-"))


@pytest.mark.parametrize(
    ("classes", "problem"),
    [
        (("background", "cat"), "run has 2 classes, the data has 3"),
        (("background", "dog", "cat"), "class 1 of run is dog, that of the data is cat"),
        (("background", "cats", "dog"), "class 1 of run is cats, that of the data is cat"),
    ],
)
def test_a_model_with_other_classes_is_refused(classes, problem):
    with pytest.raises(UserError, match=f"teacher: {problem}"):
        check_same_classes("teacher", "run", classes, ("background", "cat", "dog"))


def test_punctuation_counts_if_it_alone_distinguishes_classes():
    names = ("background", "level 1", "level -1")
    check_same_classes("teacher", "run", names, names)
    with pytest.raises(UserError, match="class 1 of run is level -1, that of the data is level 1"):
        check_same_classes("teacher", "run", ("background", "level -1", "level 1"), names)
