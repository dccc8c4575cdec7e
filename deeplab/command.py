"""What the commands have in common: their arguments, and how they end."""

import difflib
import errno
import os
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from deeplab.config import build
from deeplab.errors import UserError
from deeplab.tflite.quiet import quiet

T = TypeVar("T")

# A command writes into its run folder or `out` alone, so hydra makes no folder and no log of its own.
_HYDRA = ("hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none")
_PLAIN_VALUE = re.compile(r"[\w/\-\\+.$%*@?|:,~]*|[\[{'\"].*", re.DOTALL)
_OURS_TO_EXPLAIN = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EACCES: "choose a place you may write to",
    errno.EROFS: "choose a place you may write to",
    errno.EPERM: "choose a place you may write to",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path: a file lies where a folder is needed",
    errno.EEXIST: "check the path: a file lies where a folder is needed",
}


def prepare_arguments(configs: Path) -> None:
    """Rewrites sys.argv for hydra; call it before a hydra main.

    `key=value` becomes `++key=value`, so that hydra takes keys that the YAML does not hold and `deeplab.config.build`,
    which knows all keys, refuses the wrong ones. A choice of a config group that does not exist ends the command.

    Args:
        configs: the folder of YAML files; its folders are the groups.
    """
    try:
        sys.argv[1:] = [*(_for_hydra(argument, configs) for argument in sys.argv[1:]), *_HYDRA]
    except UserError as error:
        _end(error)


def run(
    cls: type[T], mapping: Any, function: Callable[[T], object], first: Callable[[T], bool] = lambda _: False
) -> None:
    """Builds the frozen configuration `cls` from `mapping` and calls `function` with it.

    TensorFlow, which takes seconds, is loaded between `first` and `function`: `first` looks at paths, and gives True
    where it has done all there is to do.

    What the user can mend ends with one line on standard error and exit code 1; anything else keeps its traceback.
    """
    warnings.showwarning = _show_warning
    warnings.simplefilter("ignore", DeprecationWarning)
    try:
        config = build(cls, mapping)
        if first(config):
            return
        load_tensorflow()
        function(config)
    except UserError as error:
        _end(error)
    except OSError as error:
        if error.errno not in _OURS_TO_EXPLAIN:
            raise
        _end(UserError(str(error.filename or "disk"), str(error.strerror), _OURS_TO_EXPLAIN[error.errno]))
    except KeyboardInterrupt:
        print("stopped by the keyboard", file=sys.stderr)
        sys.exit(130)


def load_tensorflow() -> None:
    """Imports TensorFlow without the lines that it prints about devices it does not find."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with quiet():
        import tensorflow as tf

        tf.config.list_physical_devices("GPU")
    tf.get_logger().setLevel("ERROR")


def _for_hydra(argument: str, configs: Path) -> str:
    if argument.startswith(("-", "+", "~", "hydra")):
        return argument
    key, equals, value = argument.partition("=")
    if not equals:
        raise UserError(argument, "is no setting", "write key=value, such as data=voc")
    if (configs / key).is_dir():
        choices = sorted(path.stem for path in (configs / key).glob("*.yaml"))
        if value not in (*choices, "null"):
            near = difflib.get_close_matches(value, choices, n=1)
            known = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(choices)}"
            raise UserError(f"{key}={value}", "no such choice", known)
        return argument
    if not _PLAIN_VALUE.fullmatch(value):
        # Spaces and brackets in a path are no syntax here.
        value = "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return f"++{key}={value}"


def _show_warning(message: Any, *_: Any, **__: Any) -> None:
    print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)


def _end(error: UserError) -> NoReturn:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(1)
