"""Published weights by name, fetched from a server on this machine."""

import hashlib
import shutil
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import pooch
import pytest
from PIL import Image

from deeplab import published_weights
from deeplab.errors import UserError
from deeplab.pretrained.importer import check_source
from deeplab.published_weights import PUBLISHED, PublishedFile, local_file
from deeplab.run_folder import load_model, open_model

CONTENT = b"weights" * 1000


@pytest.mark.parametrize("path", ["runs/official", "my_official"])
def test_a_path_that_contains_a_published_name_is_not_taken_for_a_mistyped_one(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no such file or folder") as weights:
        check_source(path)
    with pytest.raises(UserError, match="no such folder") as run:
        open_model(path)
    assert "did you mean" not in f"{weights.value} {run.value}"
    with pytest.raises(UserError, match="did you mean 'official'"):
        open_model("offical")


class Quiet(SimpleHTTPRequestHandler):
    requests: ClassVar[list[str]] = []

    def log_message(self, *_):
        self.requests.append(self.path)


@pytest.fixture
def served(tmp_path):
    """A folder, and the address at which a server offers its files."""
    folder = tmp_path / "served"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    Quiet.requests.clear()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache folder; nothing is read from that of the user."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(pooch, "os_cache", lambda name: folder)
    monkeypatch.delenv(published_weights.LOCATION, raising=False)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def small(served, monkeypatch):
    """Published weights "small" of 7,000 bytes, whose publisher is the server."""
    folder, address = served
    (folder / "small.tflite").write_bytes(CONTENT)
    published = PublishedFile("small.tflite", f"{address}/small.tflite", hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setitem(PUBLISHED, "small", published)
    return folder


def test_a_file_is_downloaded_once_and_then_read_from_the_cache(small, cache, capsys):
    assert local_file("small").read_bytes() == CONTENT
    assert local_file("small") == cache / "small.tflite"
    assert [path.name for path in cache.iterdir()] == ["small.tflite"]
    assert len(Quiet.requests) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"Downloading small from {PUBLISHED['small'].address} ..."]


def test_a_damaged_file_in_the_cache_is_downloaded_again(small, cache):
    cache.mkdir()
    (cache / "small.tflite").write_bytes(CONTENT[:-1])
    assert local_file("small").read_bytes() == CONTENT


def test_a_file_with_another_checksum_is_refused_and_not_kept(small, cache):
    (small / "small.tflite").write_bytes(CONTENT + b"!")
    with pytest.raises(UserError, match=r"small: http.*/small\.tflite has another SHA-256 than [0-9a-f]{12}\.\.\.; "):
        local_file("small")
    assert not list(cache.iterdir())


def test_a_mirror_replaces_the_publisher(served, small, cache, monkeypatch):
    folder, address = served
    (folder / "mirror").mkdir()
    (folder / "small.tflite").rename(folder / "mirror" / "small.tflite")
    monkeypatch.setenv(published_weights.LOCATION, f"{address}/mirror/")
    assert local_file("small").read_bytes() == CONTENT
    assert "/mirror/small.tflite" in Quiet.requests


def test_a_file_that_the_mirror_lacks_is_named_with_the_status(served, small, cache, monkeypatch):
    monkeypatch.setenv(published_weights.LOCATION, f"{served[1]}/none")
    with pytest.raises(UserError, match=r"small: cannot be downloaded \(404 File not found\); download http"):
        local_file("small")
    assert not list(cache.iterdir())


def test_a_download_that_breaks_leaves_nothing(small, cache, monkeypatch):
    """The server announces 100 bytes more than it sends."""

    def send(handler: Quiet, name: str, value: str) -> None:
        value = str(int(value) + 100) if name == "Content-Length" else value
        SimpleHTTPRequestHandler.send_header(handler, name, value)

    monkeypatch.setattr(Quiet, "send_header", send, raising=False)
    with pytest.raises(UserError, match=r"small: cannot be downloaded \(the connection broke\); download http"):
        local_file("small")
    assert not list(cache.iterdir())


def test_a_folder_replaces_the_download(small, tmp_path, cache, monkeypatch):
    monkeypatch.setenv(published_weights.LOCATION, str(tmp_path / "mine"))
    with pytest.raises(UserError, match=r"mine/small\.tflite: no such file in the folder of DEEPLAB_WEIGHTS; put http"):
        local_file("small")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "small.tflite").write_bytes(CONTENT[1:])
    with pytest.raises(UserError, match=r"mine/small\.tflite: expected SHA-256 [0-9a-f]{12}\.\.\., got [0-9a-f]{12}"):
        local_file("small")
    (tmp_path / "mine" / "small.tflite").write_bytes(CONTENT)
    assert local_file("small") == tmp_path / "mine" / "small.tflite"
    assert not Quiet.requests
    assert not cache.exists()


def test_without_a_network_one_line_names_the_address_and_the_file_within_seconds(small, cache, monkeypatch):
    """Nothing listens at port 9 of this machine; 192.0.2.1 is reserved for documents and never answers (RFC 5737)."""
    for address in ("http://127.0.0.1:9", "http://192.0.2.1", "http://no-such-host.invalid"):
        monkeypatch.setenv(published_weights.LOCATION, address)
        start = time.perf_counter()
        with pytest.raises(UserError) as caught:
            local_file("small")
        assert time.perf_counter() - start < 8
        line = str(caught.value)
        assert "\n" not in line
        assert line.startswith("small: cannot be downloaded (no ")
        assert f"download {PUBLISHED['small'].address} elsewhere, and save it as {cache / 'small.tflite'}" in line


def test_a_cache_that_cannot_be_written_is_named(small, cache):
    cache.write_text("a file")
    with pytest.raises(UserError, match=r"cache/small\.tflite: cannot be written .*; set DEEPLAB_WEIGHTS=FOLDER"):
        local_file("small")


def test_a_path_that_exists_wins_over_the_name(small, tmp_path):
    (tmp_path / "small").mkdir()
    assert local_file("small") == Path("small")
    assert local_file("./small") == Path("small")
    assert not Quiet.requests


@pytest.mark.parametrize("name", ["official", "official_050", "starter"])
def test_the_addresses_are_fixed_and_the_files_have_the_checksums(name, official_models, monkeypatch):
    published = PUBLISHED[name]
    assert hashlib.sha256((official_models / published.file).read_bytes()).hexdigest() == published.sha256
    owner, repository, commit = published.address.removeprefix("https://raw.githubusercontent.com/").split("/")[:3]
    assert (owner, repository) in (("google-coral", "test_data"), ("tensorflow", "tflite-support"))
    assert len(commit) == 40
    monkeypatch.setenv(published_weights.LOCATION, str(official_models))
    model = open_model(name)
    assert model.folder == Path("runs", name), "results of published weights do not go into the cache"
    config = model.description.config
    # The depth multipliers that the file names and model cards state; 21 classes of PASCAL VOC.
    assert config.depth_multiplier == (1.0 if name == "official" else 0.5)
    assert (config.head, config.classes) == ("v3", 21)


def test_a_name_opens_the_network_of_the_served_file(served, official_models, cache, monkeypatch):
    folder, address = served
    published = PUBLISHED["starter"]
    shutil.copy(official_models / published.file, folder / published.file)
    monkeypatch.setenv(published_weights.LOCATION, address)
    by_name, by_path = (open_model(model).network for model in ("starter", official_models / published.file))
    assert by_name.convolutions.keys() == by_path.convolutions.keys()
    for layer, convolution in by_path.convolutions.items():
        np.testing.assert_array_equal(by_name.convolutions[layer].kernel, convolution.kernel)
    assert [path.name for path in cache.iterdir()] == [published.file]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["official", "official_050", "starter"])
def test_the_models_by_name_label_the_image_of_the_task_library(name, official_models, monkeypatch):
    """The golden mask is that of the starter file; the other models agree with it as far as models of VOC do."""
    monkeypatch.setenv(published_weights.LOCATION, str(official_models))
    image = Image.open(official_models / "segmentation_input_rotation0.jpg").convert("RGB").resize((257, 257))
    golden = Image.open(official_models / "segmentation_golden_rotation0.png").resize(
        (257, 257), Image.Resampling.NEAREST
    )
    logits = load_model(name, 8)(np.asarray(image, np.float32)[None], training=False)
    # The values of the golden file are ten times the class ids.
    agreement = (np.asarray(logits)[0].argmax(-1) == np.asarray(golden) // 10).mean()
    assert agreement > (0.99 if name == "starter" else 0.9)
