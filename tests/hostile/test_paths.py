"""Paths of runs, data and results that do not exist, are of another kind, or cannot be written."""

import pytest

from tests.hostile.case import Case, fails, folder, refused

LONG = "x" * 300

CASES = [
    refused("train data=voc data.root=missing", "missing: no such folder"),
    refused("train data=folder data.root=notes.txt", "notes.txt: is a file"),
    refused(f"train data=voc data.root={LONG}", "choose a shorter name"),
    refused("evaluate run=missing", "run=missing: no such folder"),
    refused("evaluate run=missing/deep/er", "no such folder"),
    refused("evaluate run=set", "run=set: contains no model.json"),
    refused("evaluate run=notes.txt", "run=notes.txt"),
    refused("evaluate run=photo.png", "run=photo.png"),
    refused("evaluate run=empty", "run=empty: contains no model.json"),
    refused("evaluate run=.", "contains no model.json"),
    refused("evaluate run=[run,missing]", "run=missing: no such folder"),
    refused(f"evaluate run={LONG}", "choose a shorter name"),
    refused(f"predict run={LONG} images=photo.png", "choose a shorter name"),
    refused(f"export run={LONG}", "choose a shorter name"),
    refused("evaluate 'run=a,b'", "run=a,b: no such folder"),
    refused("evaluate 'run=(a)'", "run=(a): no such folder"),
    refused("evaluate 'run=a b'", "run=a b: no such folder"),
    refused("evaluate 'run=a=b'", "run=a=b: no such folder"),
    refused("evaluate 'run=a]'", "run=a]: no such folder"),
    refused("evaluate 'run=it'\"'\"'s'", "run=it's: no such folder"),
    refused("evaluate 'run=#1'", "run=#1: no such folder"),
    refused("evaluate 'run=50%'", "run=50%: no such folder"),
    refused("evaluate 'run=a;b'", "run=a;b: no such folder"),
    refused("evaluate 'run=a|b'", "run=a|b: no such folder"),
    refused("evaluate 'run=\\u2028x'", "no such folder"),
    refused("export run=missing.tflite", "missing.tflite: cannot be read: No such file"),
    fails("export inspect=missing.tflite", "missing.tflite: cannot be read"),
    refused("export verify=missing.tflite", "missing.tflite: cannot be read"),
    refused("export verify=model.tflite run=missing", "run=missing: no such folder"),
    refused("predict run=missing images=photo.png", "run=missing: no such folder"),
    fails("predict run=model.tflite images=missing.png", "images=missing.png: no such file or folder"),
    fails("predict run=model.tflite images=empty", "images=empty: no image or video among 0 file(s)"),
    fails("predict run=model.tflite images=notes.txt", "no image or video among 1 file(s)"),
    fails("predict run=model.tflite 'images=*.jpg'", "no file matches"),
    fails(f"predict run=model.tflite images={LONG}", "choose a shorter name"),
    fails("predict run=model.tflite images=photo.png out=notes.txt", "notes.txt"),
    fails("predict run=model.tflite images=photo.png out=notes.txt/x", "notes.txt"),
    fails(f"predict run=model.tflite images=photo.png out={LONG}", "choose a shorter name"),
    fails("FAST_EXPORT out=notes.txt/x.tflite", "cannot write to"),
    fails("FAST_EXPORT out=box.tflite", "box.tflite: is a folder", folder("box.tflite")),
    fails("FAST_EXPORT out=x.tflite", "x.report.json: is a folder", folder("x.report.json")),
    fails("FAST_EXPORT out=/proc/x.tflite", "/proc/x.tflite: cannot write to /proc"),
    fails("predict run=model.tflite images=photo.png out=/proc/x", "/proc/x/shares.json: cannot write to /proc"),
    fails(f"FAST_EXPORT out={LONG}.tflite", "choose a shorter name"),
    fails("FAST_EVALUATE out=notes.txt", "notes.txt"),
    fails("TINY_TRAIN run=notes.txt", "notes.txt"),
    fails("TINY_TRAIN run=notes.txt/x", "notes.txt"),
    fails(f"TINY_TRAIN run={LONG}", "name"),
    fails("TINY_TRAIN pretrained=missing", "missing: no such file or folder"),
    fails("TINY_TRAIN plan=null pretrained=missing", "missing: no such file or folder"),
    refused("export run=offical", "; did you mean 'official'?"),
    fails("TINY_TRAIN pretrained=my_official.tflite", "my_official.tflite: no such file or folder; give a .tflite"),
    fails("TINY_TRAIN pretrained=offical", "offical: no such file or folder; did you mean 'official'?"),
    fails("TINY_TRAIN pretrained=notes.txt", "notes.txt: has no known weights format"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_wrong_path_is_named(case: Case, check):
    check(case)
