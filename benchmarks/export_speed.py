r"""Times .tflite files in turns: `python -m benchmarks.export_speed FILE... [--threads 1 2] [--rounds 50] [--profile]`.

Prints the table that TensorFlow's own documents use (model, size, device, threads, ms), each file beside the first one.
The files take turns picture by picture, so what else the machine does falls on all alike; the ratio is the median of
those within a turn, and the load of the machine is printed. `--profile` adds where the time goes: milliseconds by kind
of operator and the dearest operators, each timed on its own (see deeplab/conversion/operator_times.py).

On a phone, with TensorFlow's benchmark tool (the nightly binary `android_aarch64_benchmark_model`, see "Performance
measurement" in the documents of LiteRT), for each file:

    adb push android_aarch64_benchmark_model /data/local/tmp/benchmark_model
    adb shell chmod +x /data/local/tmp/benchmark_model
    adb push model.tflite /data/local/tmp/
    adb shell taskset f0 /data/local/tmp/benchmark_model --graph=/data/local/tmp/model.tflite --num_threads=1 \
        --use_xnnpack=true --num_runs=50 --warmup_runs=5 --enable_op_profiling=true

`taskset f0` keeps it on the big cores of most phones; `--use_gpu=true` in place of `--use_xnnpack=true` times the GPU
delegate, which takes float files. `Inference (avg)` in the tool's last lines is microseconds a picture.
"""

import argparse
import os
import platform
from pathlib import Path

import numpy as np

from benchmarks.operator_times import profile
from deeplab.conversion.timing import times_in_turns
from deeplab.errors import UserError
from deeplab.tflite.flatbuffer import read_file
from deeplab.tflite.interpreter import TfliteModel

TOP = 10
"""How many of the dearest operators are listed."""


def print_table(contents: dict[str, bytes], threads: int, rounds: int) -> None:
    times = times_in_turns(contents, threads, rounds)
    first = next(iter(times.values()))
    for name, content in contents.items():
        model = TfliteModel(content)
        size, mask = ("x".join(map(str, side)) for side in (model.image_size, model.mask_size))
        low, middle, high = np.percentile(first / times[name], (25, 50, 75))
        ends = f"{model.input.dtype} {size} | {model.output.dtype} {mask} | {len(content):,} | {platform.machine()} CPU"
        speed = f"{np.median(times[name]):.1f} | {middle:.2f} ({low:.2f}-{high:.2f})"
        print(f"| {name} | {ends} | {threads} | {speed} |", flush=True)


def print_profile(name: str, content: bytes, threads: int) -> None:
    found = profile(content, threads)
    parts = sum(op.milliseconds for op in found.operators)
    print(f"\n{name}: {found.whole:.2f} ms whole, {parts:.2f} ms the sum of its operators, {threads} threads")
    print("| operator | how many | ms | share |\n|---|---|---|---|")
    for kind, ms, number in found.kinds:
        print(f"| {kind} | {number} | {ms:.2f} | {ms / parts:.1%} |")
    print("\n| dearest operators | result | ms | share |\n|---|---|---|---|")
    for op in found.top[:TOP]:
        print(f"| {op.kind} {op.layer} | {list(op.shape)} | {op.milliseconds:.2f} | {op.milliseconds / parts:.1%} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--profile", action="store_true")
    chosen = parser.parse_args()
    alike = len({path.name for path in chosen.files}) < len(chosen.files)
    try:
        contents = {str(path) if alike else path.name: read_file(path)[1] for path in chosen.files}
        for path in chosen.files:
            TfliteModel(path)
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    print("| model | input | output | bytes | device | threads | ms | speed against the first (quartiles) |")
    print("|---|---|---|---|---|---|---|---|")
    for threads in chosen.threads:
        print_table(contents, threads, chosen.rounds)
    if chosen.profile:
        for name, content in contents.items():
            print_profile(name, content, chosen.threads[0])


if __name__ == "__main__":
    main()
