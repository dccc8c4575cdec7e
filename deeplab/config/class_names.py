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
