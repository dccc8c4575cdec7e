"""Times .tflite files in turns: `python benchmarks/export_speed.py FILE... [--threads 1] [--rounds 50]`.

Prints the table that TensorFlow's own documents use (model, size, device, threads, ms), each file beside the first one,
and the commands that measure the same files on a phone with TensorFlow's benchmark tool.
"""

import argparse
import platform
from pathlib import Path

from deeplab.conversion.benchmark import median_milliseconds
from deeplab.tflite.interpreter import TfliteModel

_PHONE = """
On a phone (the benchmark tool is TensorFlow's android_aarch64_benchmark_model):
  adb push android_aarch64_benchmark_model /data/local/tmp/benchmark_model
  adb shell chmod +x /data/local/tmp/benchmark_model"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=50)
    arguments = parser.parse_args()
    contents = {path.name: path.read_bytes() for path in arguments.files}
    times = median_milliseconds(contents, arguments.threads, arguments.rounds)
    first = next(iter(times.values()))
    print("| model | input | output | bytes | device | threads | ms | speed against the first |")
    print("|---|---|---|---|---|---|---|---|")
    for name, content in contents.items():
        model = TfliteModel(content)
        size = "x".join(map(str, model.image_size))
        mask = "x".join(map(str, model.map_size))
        print(
            f"| {name} | {model.input.dtype} {size} | {model.output.dtype} {mask} | {len(content):,} | "
            f"{platform.machine()} | {arguments.threads} | {times[name]:.1f} | {first / times[name]:.2f} |"
        )
    print(_PHONE)
    for path in arguments.files:
        print(f"  adb push {path.name} /data/local/tmp/")
        print(
            f"  adb shell /data/local/tmp/benchmark_model --graph=/data/local/tmp/{path.name} "
            f"--num_threads={arguments.threads} --use_xnnpack=true --enable_op_profiling=true"
        )


if __name__ == "__main__":
    main()
