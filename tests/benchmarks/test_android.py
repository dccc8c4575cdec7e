"""Measurements on a phone, with a fake adb in PATH whose answers have the format of the real tools."""

import re
import stat
import sys

import pytest

from benchmarks import export_speed
from benchmarks.android import AndroidDevice, parse
from deeplab.errors import UserError

NEW = """INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Num threads: [1]
INFO: Graph: [/data/local/tmp/deeplab.tflite]
INFO: Use xnnpack: [1]
INFO: Loaded model /data/local/tmp/deeplab.tflite
VERBOSE: Replacing 62 out of 71 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 3 partitions.
INFO: Initialized session in 4.25ms.
INFO: Running benchmark for at least 5 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
INFO: count=24 first=29000 curr=20100 min=20000 max=29000 avg=20950.4 std=1900 p5=20010 median=20400 p95=24000

INFO: Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
INFO: count=50 first=20300 curr=20200 min=19900 max=22000 avg=20345.6 std=310 p5=19950 median=20250 p95=20900

INFO: Inference timings in us: Init: 4250, First inference: 29000, Warmup (avg): 20950.4, Inference (avg): 20345.6
INFO: Memory footprint delta from the start of the tool (MB): init=4.2 overall=12.8
"""
OLD = """STARTING!
count=1 curr=3512391

count=50 first=2990275 curr=2913402 min=2727568 max=3189954 avg=2.95034e+06 std=109798

Inference timings in us: Init: 17187, First inference: 3512391, Warmup (avg): 3.51239e+06, Inference (avg): 2.95034e+06
"""
FAKE = """#!{python}
import pathlib, sys
arguments = sys.argv[1:]
with open({log!r}, "a") as log:
    log.write(" ".join(arguments) + chr(10))
text = " ".join(arguments)
if arguments == ["devices"]:
    print("List of devices attached")
    print({devices!r})
elif "--graph=" in text:
    print({output!r})
    sys.exit({code})
elif "test -x" in text:
    print({binary!r})
elif "ro.product.model" in text:
    print("Pixel 8")
elif "ro.build.version.release" in text:
    print("15")
"""


@pytest.fixture
def fake_adb(tmp_path, monkeypatch):
    """Return a function that puts a fake adb into PATH and returns the file that it logs its commands to."""

    def install(devices="serial1\tdevice", output=NEW, code=0, binary="yes"):
        log, program = tmp_path / "log.txt", tmp_path / "bin" / "adb"
        program.parent.mkdir(exist_ok=True)
        values = {"python": sys.executable, "log": str(log), "devices": devices, "output": output}
        program.write_text(FAKE.format(**values, code=code, binary=binary))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(program.parent))
        return log

    return install


def test_the_times_of_the_runs_after_the_warm_up_are_read():
    times = parse(NEW)
    assert (times.average, times.deviation, times.median) == pytest.approx((20.3456, 0.31, 20.25))
    assert (times.first, times.start, times.delegated) == (29.0, 4.25, "62 of 71")


def test_large_times_have_an_exponent_and_older_tools_print_no_median():
    times = parse(OLD)
    assert (times.average, times.deviation, times.first) == pytest.approx((2950.34, 109.798, 3512.391))
    assert times.median is None
    assert times.delegated is None


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("STARTING!\nERROR: Failed to load model /data/x.tflite\nBenchmarking failed.", "Failed to load model"),
        ("/data/local/tmp/benchmark_model: not executable: 64-bit ELF file", "not executable"),
        ("", "printed nothing"),
    ],
)
def test_output_without_times_is_one_line_with_its_error(output, message):
    with pytest.raises(UserError, match=message):
        parse(output)


def test_the_commands_are_those_of_the_documentation(fake_adb, tmp_path):
    log, file, binary = fake_adb(), tmp_path / "a.tflite", tmp_path / "android_aarch64_benchmark_model"
    file.write_bytes(b"x")
    binary.write_bytes(b"x")
    device = AndroidDevice(binary)
    assert device.name == "Pixel 8, Android 15"
    assert device.measure(file, threads=4, runs=30, delegate="gpu").median == 20.25
    commands = [re.sub(r"deeplab_\d+", "deeplab", line) for line in log.read_text().splitlines()]
    assert commands == [
        "devices",
        f"-s serial1 push {binary} /data/local/tmp/benchmark_model",
        "-s serial1 shell chmod +x /data/local/tmp/benchmark_model",
        "-s serial1 shell getprop ro.product.model",
        "-s serial1 shell getprop ro.build.version.release",
        f"-s serial1 push {file} /data/local/tmp/deeplab.tflite",
        "-s serial1 shell taskset f0 /data/local/tmp/benchmark_model --graph=/data/local/tmp/deeplab.tflite"
        " --num_threads=4 --num_runs=30 --warmup_runs=5 --use_gpu=true",
        "-s serial1 shell rm -f /data/local/tmp/deeplab.tflite",
    ]


def test_without_adb_one_line_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="adb: not found in PATH; install"):
        AndroidDevice()


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        ("", "no device is attached"),
        ("serial1\tunauthorized", "device serial1 is unauthorized; allow USB debugging"),
        ("serial1\toffline", "device serial1 is offline"),
        ("serial1\tno permissions (missing udev rules?); see http", "is no permissions"),
        ("serial1\tdevice\nserial2\tdevice", "2 devices are attached; add --adb-serial=serial1"),
    ],
)
def test_a_phone_that_cannot_be_used_is_one_line(fake_adb, devices, message):
    fake_adb(devices)
    with pytest.raises(UserError, match=message):
        AndroidDevice()


def test_one_of_several_phones_is_chosen_by_its_serial_number(fake_adb):
    log = fake_adb("serial1\tunauthorized\nserial2\tdevice")
    AndroidDevice(serial="serial2")
    assert all(line.startswith("-s serial2") for line in log.read_text().splitlines()[1:])
    with pytest.raises(UserError, match="no device 'serial3' \\(attached: serial1, serial2\\)"):
        AndroidDevice(serial="serial3")


def test_a_missing_binary_is_one_line(fake_adb, tmp_path):
    fake_adb(binary="no")
    with pytest.raises(UserError, match="the device has no /data/local/tmp/benchmark_model; add --adb-binary"):
        AndroidDevice()
    with pytest.raises(UserError, match="no such file"):
        AndroidDevice(tmp_path / "missing")


def test_a_crash_of_the_tool_is_one_line_and_the_file_is_removed(fake_adb, tmp_path):
    log, file = fake_adb(output="INFO: STARTING!\nSegmentation fault", code=139), tmp_path / "a.tflite"
    file.write_bytes(b"x")
    with pytest.raises(UserError, match="failed with code 139: Segmentation fault"):
        AndroidDevice().measure(file, threads=1, runs=5)
    assert " shell rm -f " in log.read_text().splitlines()[-1]


def test_the_table_gets_a_row_for_the_phone(fake_adb, monkeypatch, capsys, official_models):
    fake_adb()
    file = official_models / "starter_deeplabv3_257_float.tflite"
    monkeypatch.setattr(sys, "argv", ["export_speed", str(file), "--rounds", "2", "--adb"])
    export_speed.main()
    output = capsys.readouterr().out.splitlines()
    row = "float32 257x257 | float32 257x257 | 2,780,051 | Pixel 8, Android 15, xnnpack | 1 | 20.2 | 1.00 |"
    assert f"| {file.name} | {row}" in output
    assert output[-1] == f"{file.name}: xnnpack took 62 of 71 nodes"


def test_options_of_the_phone_need_adb_and_a_missing_phone_ends_the_program(fake_adb, monkeypatch, official_models):
    fake_adb(devices="")
    file = str(official_models / "starter_deeplabv3_257_float.tflite")
    monkeypatch.setattr(sys, "argv", ["export_speed", file, "--adb-serial", "x"])
    with pytest.raises(SystemExit, match="2"):
        export_speed.main()
    monkeypatch.setattr(sys, "argv", ["export_speed", file, "--adb"])
    with pytest.raises(SystemExit, match="error: --adb: no device is attached"):
        export_speed.main()
