"""The commands, from the arguments to the library call.

Each script at the top level (train.py, export.py, ...) and each sub-command of `deeplab` calls `main`. Settings are
composed by hydra from configs/ and the `key=value` arguments, and become a frozen dataclass of `deeplab.config`.
"""

import errno
import os
import signal
import sys
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from deeplab.cli.commands import COMMANDS, Command
from deeplab.cli.help import command_help, overview
from deeplab.cli.settings import compose_settings, config_folder, given_keys
from deeplab.config import build, record_given
from deeplab.errors import InterruptedRunError, UserError
from deeplab.quiet import quiet

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
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    in_main_thread = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGTERM, _terminate) if in_main_thread else None
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
        warnings.showwarning = _show_warning
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
        # Writers that are deleted with data left would report the same error again, after ours.
        sys.unraisablehook = lambda _: None
        _exit_with(UserError(str(error.filename or "disk"), str(error.strerror), _OS_REMEDIES[error.errno]))
    except Exception as error:
        # TensorFlow's own error for memory; importing it for its class would take seconds.
        if not isinstance(error, MemoryError) and type(error).__name__ != "ResourceExhaustedError":
            raise
        reason = str(error).partition("\n")[0][:200]
        problem = f"is exhausted ({reason})" if reason else "is exhausted"
        _exit_with(UserError("memory", problem, _OS_REMEDIES[errno.ENOMEM]))
    except KeyboardInterrupt as error:
        print("interrupted", file=sys.stderr)
        sys.exit(128 + (error.args[0] if error.args else signal.SIGINT))
    finally:
        if in_main_thread:
            signal.signal(signal.SIGTERM, previous)


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
    warnings.simplefilter("ignore", DeprecationWarning)
    job = command.job_for(settings)
    config: Any = record_given(build(job.config, settings), given)
    # Paths are checked first: importing TensorFlow takes seconds.
    job.check(config)
    if job.needs_tensorflow:
        load_tensorflow()
    previous, sys.unraisablehook = sys.unraisablehook, _repeat_signal
    try:
        job.run(config)
    finally:
        sys.unraisablehook = previous


def _repeat_signal(unraisable: "sys.UnraisableHookArgs") -> None:
    """Send a signal again whose exception was lost, because it arrived in a callback that cannot raise."""
    error = unraisable.exc_value
    if not isinstance(error, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    timer = threading.Timer(0.05, os.kill, (os.getpid(), error.args[0] if error.args else signal.SIGINT))
    timer.daemon = True
    timer.start()


def _show_warning(message: Any, *_: Any, **__: Any) -> None:
    print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)


def _exit_with(error: UserError) -> NoReturn:
    interrupted = isinstance(error, InterruptedRunError)
    print(f"{'interrupted' if interrupted else 'error'}: {error}", file=sys.stderr)
    sys.exit(128 + error.signal_number if isinstance(error, InterruptedRunError) else 1)


def _terminate(number: int, _: Any) -> NoReturn:
    """End the work on SIGTERM as Ctrl-C does, so that temporary files are removed."""
    raise KeyboardInterrupt(number)


def run_script(path: str) -> None:
    """Run the command of a script at the top level of a checkout: train.py runs "train"."""
    main(Path(path).stem)
