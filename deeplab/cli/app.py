"""The commands, from the arguments to the library call.

Each script at the top level (train.py, export.py, ...) and each sub-command of `deeplab` calls `main`. Settings are
composed by hydra from configs/ and the `key=value` arguments, and become a frozen dataclass of `deeplab.config`.
"""

import errno
import logging
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from deeplab.cli.commands import COMMANDS, Command
from deeplab.cli.help import command_help, overview
from deeplab.cli.settings import compose_settings, config_folder, given_keys
from deeplab.config import build, record_given
from deeplab.errors import InterruptedRunError, UserError
from deeplab.files import remove_temporaries
from deeplab.interruption import Interruption
from deeplab.quiet import load_tensorflow, open_closed_output, restore_output
from deeplab.rendering.console import warning_line

_FREE, _PLACE, _FOLDER = (
    "free some disk space",
    "choose a place that you may write to",
    "check the path: a file exists where a folder is needed",
)
_OS_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _FREE),
    **dict.fromkeys((errno.EACCES, errno.EROFS, errno.EPERM), _PLACE),
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST), _FOLDER),
    **dict.fromkeys((errno.ENOENT, errno.ELOOP, errno.EINVAL), "check the path"),
    errno.EISDIR: "check the path: a folder exists where a file is needed",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "allow more open files (ulimit -n)",
    errno.EIO: "check the disk",
    errno.ENOMEM: "use a smaller image_size, crop_size or batch_size",
}
"""What to do about an error of the operating system; other errors are bugs and keep their traceback."""

_HELP_FLAGS = {"--help", "-h", "help"}


def main(name: str | None = None, arguments: Sequence[str] | None = None) -> None:
    """Run one command and end the process: exit code 0 when done, 1 after a user error, 128 + N after signal N.

    Ctrl-C is signal 2, SIGTERM signal 15. Both remove the temporary files of results that are not complete.

    Args:
        name: the command; None takes it from the first argument, as the entry point `deeplab` does.
        arguments: `key=value` settings; None takes those of the process.
    """
    interruption, failure = Interruption(), None
    open_closed_output()
    try:
        interruption.start()
        _dispatch(name, list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
        interruption.ending = True
    except BaseException as error:
        # No call may come before this assignment: it would be the place where another signal raises.
        interruption.ending = True
        failure = error
    try:
        number = interruption.number
        if number is None and isinstance(failure, KeyboardInterrupt):
            number = signal.SIGINT
        if number is not None and not isinstance(failure, InterruptedRunError):
            failure = _SignalError(number)
        if failure is not None:
            _end_with(failure)
    finally:
        # The arguments of the process are given to the last call that it makes.
        interruption.stop(process_ends=arguments is None)


class _SignalError(Exception):
    """A signal has ended the work."""


def _dispatch(name: str | None, arguments: list[str]) -> None:
    """Run the command `name`, or that of the first argument, or print a help text."""
    program = f"python {name}.py"
    if name is None:
        if not arguments or arguments[0] in _HELP_FLAGS:
            _print_help(overview())
            return
        name, *arguments = arguments
        program = f"deeplab {name}"
        if name not in COMMANDS:
            raise UserError(name, "unknown command", f"use one of {', '.join(COMMANDS)}")
    warnings.showwarning = _show_warning
    command, folder = COMMANDS[name], config_folder()
    if _HELP_FLAGS & set(arguments):
        _print_help(command_help(command, folder, program))
        return
    _run(command, compose_settings(command.name, arguments, folder), given_keys(arguments))


def _print_help(text: str) -> None:
    """Print a help text, whose reader may close the pipe early, as in `--help | head`."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _discard_output()


def _end_with(failure: BaseException) -> NoReturn:
    """End the process with one line about `failure`; a bug is raised, and keeps its traceback."""
    if isinstance(failure, _SignalError | InterruptedRunError):
        restore_output()
        remove_temporaries()
    # A reader that has closed the pipe, such as `head`, or a full disk: what is left cannot be written at the exit.
    try:
        sys.stdout.flush()
    except OSError:
        _discard_output()
    match failure:
        case _SignalError():
            print("interrupted", file=sys.stderr, flush=True)
            sys.exit(128 + failure.args[0])
        case InterruptedRunError():
            print(f"interrupted: {failure}", file=sys.stderr, flush=True)
            sys.exit(128 + failure.signal_number)
        case UserError():
            _exit_with(failure)
        case BrokenPipeError():
            sys.exit(1)
        case OSError() if failure.errno in _OS_REMEDIES:
            # Writers that are deleted with data left would report the same error again, after ours.
            sys.unraisablehook = lambda _: None
            # The second name is the target of a temporary file that cannot be renamed.
            subject = str(failure.filename2 or failure.filename or "disk")
            _exit_with(UserError(subject, str(failure.strerror), _OS_REMEDIES[failure.errno]))
    # TensorFlow's own error for memory; importing it for its class would take seconds.
    if isinstance(failure, MemoryError) or type(failure).__name__ == "ResourceExhaustedError":
        reason = str(failure).partition("\n")[0][:200]
        problem = f"is exhausted ({reason})" if reason else "is exhausted"
        _exit_with(UserError("memory", problem, _OS_REMEDIES[errno.ENOMEM]))
    raise failure


def _discard_output() -> None:
    """Lead standard output, which cannot be written, to the null device."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(command: Command, settings: dict[str, Any] | None, given: set[str]) -> None:
    """Build the config of the selected job and run the job; None means that only the settings were printed.

    `given` are the keys of the settings that the user gave by hand.
    """
    if settings is None:
        return
    warnings.simplefilter("ignore", DeprecationWarning)
    job = command.job_for(settings)
    config: Any = record_given(build(job.config, settings), given)
    # Paths are checked first: importing TensorFlow takes seconds.
    job.check(config)
    if job.needs_tensorflow:
        load_tensorflow()
        # The logger that tf.get_logger() returns.
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
    job.run(config)


def _show_warning(message: Any, *_: Any, **__: Any) -> None:
    print(warning_line(message), file=sys.stderr)


def _exit_with(error: UserError) -> NoReturn:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(1)


def run_script(path: str) -> None:
    """Run the command of a script at the top level of a checkout: train.py runs "train"."""
    main(Path(path).stem)
