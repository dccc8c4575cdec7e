"""The chart of the guide shows every row of the evaluations, and is a complete SVG file."""

import json
import xml.etree.ElementTree as ET

from benchmarks.guide_images import chart, group, read_times


def test_rows_that_differ_in_size_have_one_number(tmp_path):
    rows = [
        {"name": f"os{stride}_{size}.tflite", "miou": 0.5 + stride / 100, "miou_interval": [0.4, 0.7]}
        for stride in (16, 8)
        for size in (257, 513)
    ]
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for path, half in zip(paths, (rows[:2], rows[2:]), strict=True):
        path.write_text(json.dumps({"rows": half}))
    svg, groups = chart(paths, {row["name"]: 5.0 * (i + 1) for i, row in enumerate(rows)})
    assert groups == ["os16", "os8"]
    root = ET.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "--c0:" in root.find("{http://www.w3.org/2000/svg}style").text
    titles = {title.text for title in root.iter("{http://www.w3.org/2000/svg}title")}
    assert titles == {row["name"] for row in rows}
    labels = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert labels.count("1") == labels.count("2") == 2


def test_a_group_is_a_name_without_its_size():
    assert group("depth1.0_os16_257.tflite") == "depth1.0_os16"
    assert group("demo OS16") == "demo OS16"


def test_times_are_read_from_the_table_of_export_speed():
    table = """load of the machine: 1.0 on 2 cores

| model | input | output | bytes | device | threads | ms | speed relative to the first (quartiles) |
|---|---|---|---|---|---|---|---|
| os16_257.tflite | uint8 257x257 | uint8 65x65 | 1,000 | x86_64 CPU | 1 | 14.5 | 1.00 (1.00-1.00) |
| os8_257.tflite | uint8 257x257 | uint8 65x65 | 1,000 | x86_64 CPU | 1 | 40.0 | 0.36 (0.35-0.37) |
"""
    assert read_times(table) == {"os16_257.tflite": 14.5, "os8_257.tflite": 40.0}
