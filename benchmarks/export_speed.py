r"""Compares the speed of .tflite files.

    python -m benchmarks.export_speed FILE... [--threads 1 2] [--rounds 50] [--profile] [--cpu-time]

Prints a table with the columns of TensorFlow's own documents (model, size, device, threads, ms) and the speed relative
to the first file. Every round runs each file once, so that other load on the machine affects all files equally; the
relative speed is the median over the rounds, and the load of the machine is printed. `--profile` adds the time by type
of operator and the slowest operators, each measured alone (see benchmarks/operator_times.py). `--cpu-time` measures the
CPU time of all threads instead of the elapsed time: on a busy machine it is close to the time on an idle one.

    python -m benchmarks.export_speed FILE... --adb --adb-binary=android_aarch64_benchmark_model

`--adb` adds a row for each file on an attached Android phone, measured by LiteRT's own tool `benchmark_model` (the
published binary `android_aarch64_benchmark_model`, see "Performance measurement" in the documentation of LiteRT).
`--adb-binary` copies it to the phone; without it the one in /data/local/tmp of the phone runs. `--adb-delegate=gpu`
measures the GPU delegate, which accepts float files. The ms are the median, or the mean if the binary prints no median,
on the big cores of most phones. The output also states how many nodes the delegate took.
"""

import argparse
import os
import platform
import time
from pathlib import Path

import numpy as np

from benchmarks.android import DELEGATES, AndroidDevice
from benchmarks.operator_times import profile
from deeplab.conversion.timing import interleaved_milliseconds
from deeplab.errors import UserError
from deeplab.tflite.interpreter import TfliteModel
from deeplab.tflite.tflite_file import open_tflite

SLOWEST_COUNT = 10
"""Number of the slowest operators to list."""


def print_table(contents: dict[str, bytes], threads: int, rounds: int, cpu_time: bool = False) -> None:
    clock = time.process_time if cpu_time else time.perf_counter
    times = interleaved_milliseconds(contents, threads, rounds, clock)
    first = next(iter(times.values()))
    for name, content in contents.items():
        low, middle, high = np.percentile(first / times[name], (25, 50, 75))
        speed = f"{np.median(times[name]):.1f} | {middle:.2f} ({low:.2f}-{high:.2f})"
        print(f"| {name} | {describe(content)} | {platform.machine()} CPU | {threads} | {speed} |", flush=True)


def describe(content: bytes) -> str:
    """Return the columns input, output and bytes of a file."""
    model = TfliteModel(content)
    size, mask = ("x".join(map(str, size)) for size in (model.image_size, model.mask_size))
    return f"{model.input.dtype} {size} | {model.output.dtype} {mask} | {len(content):,}"


def print_phone_rows(device: AndroidDevice, files: dict[str, Path], args: argparse.Namespace) -> None:
    """Print a row for each file on a phone, then the nodes that its delegate took."""
    delegated = {}
    for count in args.threads:
        first = None
        for name, path in files.items():
            times = device.measure(path, count, args.rounds, args.adb_delegate)
            milliseconds = times.average if times.median is None else times.median
            first = first or milliseconds
            place, speed = f"{device.name}, {args.adb_delegate}", f"{milliseconds:.1f} | {first / milliseconds:.2f}"
            print(f"| {name} | {describe(path.read_bytes())} | {place} | {count} | {speed} |", flush=True)
            delegated[name] = times.delegated
    for name, nodes in delegated.items():
        print(f"{name}: {args.adb_delegate} took {nodes or 'an unknown number of'} nodes")


def print_profile(name: str, content: bytes, threads: int) -> None:
    result = profile(content, threads)
    total = sum(op.milliseconds for op in result.operators)
    print(f"\n{name}: {result.total:.2f} ms in total, {total:.2f} ms for the sum of its operators, {threads} threads")
    print("| operator | count | ms | share |\n|---|---|---|---|")
    for operator, ms, count in result.by_name:
        print(f"| {operator} | {count} | {ms:.2f} | {ms / total:.1%} |")
    print("\n| slowest operators | output | ms | share |\n|---|---|---|---|")
    for op in result.slowest[:SLOWEST_COUNT]:
        print(f"| {op.name} {op.layer} | {list(op.shape)} | {op.milliseconds:.2f} | {op.milliseconds / total:.1%} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--cpu-time", action="store_true", help="CPU time instead of elapsed time")
    parser.add_argument("--adb", action="store_true", help="also measure on an attached Android phone")
    parser.add_argument("--adb-binary", type=Path, help="benchmark_model for Android, copied to the phone")
    parser.add_argument("--adb-serial", help="serial number of the phone, if several are attached")
    parser.add_argument("--adb-delegate", choices=DELEGATES, default=DELEGATES[0])
    args = parser.parse_args()
    if not args.adb and (args.adb_binary or args.adb_serial or args.adb_delegate != DELEGATES[0]):
        parser.error("--adb-binary, --adb-serial and --adb-delegate need --adb")
    names_differ = len({path.name for path in args.files}) == len(args.files)
    try:
        files = [open_tflite(path) for path in args.files]
        for file in files:
            TfliteModel(file)
        # Before the measurements on this machine, which take minutes.
        device = AndroidDevice(args.adb_binary, args.adb_serial) if args.adb else None
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
    contents = {Path(file.name).name if names_differ else file.name: file.content for file in files}
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    print("| model | input | output | bytes | device | threads | ms | speed relative to the first (quartiles) |")
    print("|---|---|---|---|---|---|---|---|")
    for threads in args.threads:
        print_table(contents, threads, args.rounds, args.cpu_time)
    if device is not None:
        try:
            print_phone_rows(device, dict(zip(contents, args.files, strict=True)), args)
        except UserError as error:
            raise SystemExit(f"error: {error}") from None
    if args.profile:
        for name, content in contents.items():
            print_profile(name, content, args.threads[0])


if __name__ == "__main__":
    main()
