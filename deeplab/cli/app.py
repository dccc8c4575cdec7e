"""The commands, from the arguments to the library call.

Each script at the top level (train.py, export.py, ...) and each sub-command of `deeplab` calls `main`. Settings are
composed by hydra from configs/ and the `key=value` arguments, and become a frozen dataclass of `deeplab.config`.
"""

import errno
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from deeplab.cli.commands import COMMANDS, Command
from deeplab.cli.help import command_help, overview
from deeplab.cli.settings import compose_settings, config_folder, given_keys
from deeplab.config import build, record_given
from deeplab.errors import UserError
from deeplab.quiet import quiet

_OS_REMEDIES = {
    errno.ENOSPC: "free some disk space",
    errno.EDQUOT: "free some disk space",
    errno.EACCES: "choose a place that you may write to",
    errno.EROFS: "choose a place that you may write to",
    errno.EPERM: "choose a place that you may write to",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path: a file exists where a folder is needed",
    errno.EEXIST: "check the path: a file exists where a folder is needed",
}
_HELP_FLAGS = {"--help", "-h", "help"}


def main(name: str | None = None, arguments: Sequence[str] | None = None) -> None:
    """Run one command and end the process: exit code 0 when done, 1 after a user error, 130 after Ctrl-C.

    Args:
        name: the command; None takes it from the first argument, as the entry point `deeplab` does.
        arguments: `key=value` settings; None takes those of the process.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    program, helping = f"python {name}.py", False
    try:
        if name is None:
            if not arguments or arguments[0] in _HELP_FLAGS:
                helping = True
                print(overview(), flush=True)
                return
            name, *arguments = arguments
            program = f"deeplab {name}"
            if name not in COMMANDS:
                raise UserError(name, "unknown command", f"use one of {', '.join(COMMANDS)}")
        command, folder = COMMANDS[name], config_folder()
        if _HELP_FLAGS & set(arguments):
            helping = True
            print(command_help(command, folder, program), flush=True)
            return
        _run(command, compose_settings(command.name, arguments, folder), given_keys(arguments))
    except UserError as error:
        _exit_with(error)
    except BrokenPipeError:
        # Whoever read our output has closed it, as in `--help | head`. What remains in the buffer cannot be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0 if helping else 1)
    except OSError as error:
        if error.errno not in _OS_REMEDIES:
            raise
        _exit_with(UserError(str(error.filename or "disk"), str(error.strerror), _OS_REMEDIES[error.errno]))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def load_tensorflow() -> None:
    """Import TensorFlow without its messages about missing devices."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with quiet():
        import tensorflow as tf

        tf.config.list_physical_devices("GPU")
    tf.get_logger().setLevel("ERROR")


def _run(command: Command, settings: dict[str, Any] | None, given: set[str]) -> None:
    """Build the config of the selected job and run the job; None means that only the settings were printed.

    `given` are the keys of the settings that the user gave by hand.
    """
    if settings is None:
        return
    warnings.showwarning = _show_warning
    warnings.simplefilter("ignore", DeprecationWarning)
    job = command.job_for(settings)
    config: Any = record_given(build(job.config, settings), given)
    # Paths are checked first: importing TensorFlow takes seconds.
    job.check(config)
    if job.needs_tensorflow:
        load_tensorflow()
    job.run(config)


def _show_warning(message: Any, *_: Any, **__: Any) -> None:
    print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)


def _exit_with(error: UserError) -> NoReturn:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(1)


def run_script(path: str) -> None:
    """Run the command of a script at the top level of a checkout: train.py runs "train"."""
    main(Path(path).stem)
