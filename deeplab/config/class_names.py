"""The rules for class names, wherever they come from."""

from collections.abc import Sequence

from deeplab.errors import UserError

MAX_CLASSES = 255
"""Class ids are 0..254; 255 is the label of ignored pixels."""


def check_class_names(names: Sequence[str], where: str) -> tuple[str, ...]:
    """Return the class names as a tuple after checking them; messages name their origin `where`.

    Raises:
        UserError: there are less than 2 or more than 255 names, or a name is empty, repeated, has spaces at its ends or
            contains a character that cannot be printed.
    """
    if not 2 <= len(names) <= MAX_CLASSES:
        remedy = "name the background and at least one other class"
        raise UserError(where, f"expected 2 to {MAX_CLASSES} class names, got {len(names)}", remedy)
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        if not name or name != name.strip():
            problem = f"expected a name for class {index}, got {name!r}"
            raise UserError(where, problem, "give each class a name without spaces at its ends")
        if not name.isprintable():
            raise UserError(where, f"the name of class {index} has a control character: {name!r}", "remove it")
        if name in first:
            problem = f"classes {first[name]} and {index} have the same name {name!r}"
            raise UserError(where, problem, "give each class a different name")
        first[name] = index
    return tuple(names)


def check_same_classes(where: str, model: str, classes: Sequence[str], data_classes: Sequence[str]) -> None:
    """Raise UserError unless a model has the classes of the data, in the same order.

    Names are compared without case, spaces and punctuation, unless these alone distinguish classes of the data. The
    class that PASCAL VOC calls tvmonitor is tv in the official .tflite files.

    Args:
        where: the setting that names the model.
        model: its value.
        classes: class names of the model.
        data_classes: class names of the data.
    """
    if len(classes) != len(data_classes):
        problem = f"{model} has {len(classes)} classes, the data has {len(data_classes)}"
        raise UserError(where, problem, "use a model that was trained on these classes")
    comparable = _comparable if len(set(map(_comparable, data_classes))) == len(data_classes) else str
    for index, (name, expected) in enumerate(zip(classes, data_classes, strict=True)):
        if comparable(name) != comparable(expected):
            problem = f"class {index} of {model} is {name}, that of the data is {expected}"
            raise UserError(where, problem, "use a model that was trained on these classes")


def same_classes(classes: Sequence[str], data_classes: Sequence[str]) -> bool:
    """Return whether `check_same_classes` accepts these class names."""
    try:
        check_same_classes("", "", classes, data_classes)
    except UserError:
        return False
    return True


def _comparable(name: str) -> str:
    text = "".join(c for c in name.casefold() if c.isalnum()) or name
    return "tv" if text == "tvmonitor" else text
