r"""Compares the speed of .tflite files.

    python -m benchmarks.export_speed FILE... [--threads 1 2] [--rounds 50] [--profile]

Prints a table with the columns of TensorFlow's own documents (model, size, device, threads, ms) and the speed relative
to the first file. Every round runs each file once, so that other load on the machine affects all files equally; the
relative speed is the median over the rounds, and the load of the machine is printed. `--profile` adds the time by type
of operator and the slowest operators, each measured alone (see benchmarks/operator_times.py).

On a phone, use TensorFlow's benchmark tool for each file (the nightly binary `android_aarch64_benchmark_model`, see
"Performance measurement" in the documentation of LiteRT):

    adb push android_aarch64_benchmark_model /data/local/tmp/benchmark_model
    adb shell chmod +x /data/local/tmp/benchmark_model
    adb push model.tflite /data/local/tmp/
    adb shell taskset f0 /data/local/tmp/benchmark_model --graph=/data/local/tmp/model.tflite --num_threads=1 \
        --use_xnnpack=true --num_runs=50 --warmup_runs=5 --enable_op_profiling=true

`taskset f0` selects the big cores of most phones. `--use_gpu=true` instead of `--use_xnnpack=true` measures the GPU
delegate, which accepts float files. `Inference (avg)` in the last lines of the tool is in microseconds per image.
"""

import argparse
import os
import platform
from pathlib import Path

import numpy as np

from benchmarks.operator_times import profile
from deeplab.conversion.timing import interleaved_milliseconds
from deeplab.errors import UserError
from deeplab.tflite.interpreter import TfliteModel
from deeplab.tflite.tflite_file import open_tflite

SLOWEST_COUNT = 10
"""Number of the slowest operators to list."""


def print_table(contents: dict[str, bytes], threads: int, rounds: int) -> None:
    times = interleaved_milliseconds(contents, threads, rounds)
    first = next(iter(times.values()))
    for name, content in contents.items():
        model = TfliteModel(content)
        size, mask = ("x".join(map(str, size)) for size in (model.image_size, model.mask_size))
        low, middle, high = np.percentile(first / times[name], (25, 50, 75))
        file = f"{model.input.dtype} {size} | {model.output.dtype} {mask} | {len(content):,} | {platform.machine()} CPU"
        speed = f"{np.median(times[name]):.1f} | {middle:.2f} ({low:.2f}-{high:.2f})"
        print(f"| {name} | {file} | {threads} | {speed} |", flush=True)


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
    args = parser.parse_args()
    names_differ = len({path.name for path in args.files}) == len(args.files)
    try:
        files = [open_tflite(path) for path in args.files]
        for file in files:
            TfliteModel(file)
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
    contents = {Path(file.name).name if names_differ else file.name: file.content for file in files}
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    print("| model | input | output | bytes | device | threads | ms | speed relative to the first (quartiles) |")
    print("|---|---|---|---|---|---|---|---|")
    for threads in args.threads:
        print_table(contents, threads, args.rounds)
    if args.profile:
        for name, content in contents.items():
            print_profile(name, content, args.threads[0])


if __name__ == "__main__":
    main()
