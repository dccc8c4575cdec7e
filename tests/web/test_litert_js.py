"""LiteRT.js from a fake npm: what is fetched, checked and kept."""

import base64
import hashlib
import io
import os
import tarfile

import pytest

from deeplab.errors import UserError
from deeplab.web import litert_js

FILES = {
    "dist/index.js": 'import { a } from "@litertjs/x";\nvar b = 1;\nexport {\n  b\n};\n//# sourceMappingURL=index.map',
    "wasm/litert_wasm_compat_internal.js": "var ModuleFactory = 2;",
    "wasm/litert_wasm_compat_internal.wasm": "wasm",
}


def archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in FILES.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


def integrity(content: bytes) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()


@pytest.fixture
def npm(monkeypatch, tmp_path):
    """A function that installs a shell script as npm; the cache is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "archive").write_bytes(archive())

    def install(script: str) -> None:
        (tmp_path / "npm").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "npm").chmod(0o755)

    return install


def test_npm_is_called_once_and_its_archive_kept(npm, monkeypatch, tmp_path):
    monkeypatch.setattr(litert_js, "INTEGRITY", integrity(archive()))
    npm(f'echo "$@" >> {tmp_path}/calls; cp {tmp_path}/archive litertjs-core-2.5.3.tgz')
    lines: list[str] = []
    for _ in range(2):
        parts = litert_js.load_litert_js(lines.append)
        assert parts.core.strip() == "var b = 1;"
        assert (parts.loader, parts.wasm) == ("var ModuleFactory = 2;", b"wasm")
    assert lines == ["Fetching @litertjs/core 2.5.3 by npm ..."]
    (call,) = (tmp_path / "calls").read_text().splitlines()
    assert call.startswith("pack @litertjs/core@2.5.3 ")
    assert os.listdir(tmp_path / "cache" / "deeplab") == ["litertjs-core-2.5.3.tgz"]


def test_an_archive_with_another_checksum_is_refused_and_not_kept(npm, tmp_path):
    npm(f"cp {tmp_path}/archive litertjs-core-2.5.3.tgz")
    with pytest.raises(UserError, match=r"^npm: expected @litertjs/core 2.5.3 with sha512-PlGmbMOq9Wit..., got"):
        litert_js.load_litert_js()
    assert not (tmp_path / "cache").exists()


def test_a_damaged_archive_in_the_cache_is_refused_and_named(npm):
    npm("exit 1")
    path = litert_js.archive_path()
    path.parent.mkdir(parents=True)
    path.write_bytes(archive()[:-1])
    with pytest.raises(UserError, match=f"^{path}: expected .*; delete this file$"):
        litert_js.load_litert_js()


def test_the_reason_of_npm_is_reported_with_the_way_without_a_network(npm):
    npm('echo "npm error code ENOTFOUND\nnpm error network request to the registry failed" >&2; exit 1')
    with pytest.raises(UserError, match=r"^npm: cannot fetch .*\(network request to the registry failed\); .*npm pack"):
        litert_js.load_litert_js()


def test_a_missing_npm_is_reported_with_the_extra_that_installs_it(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(litert_js.shutil, "which", lambda *_, **__: None)
    with pytest.raises(UserError, match=r"^npm: is not installed, .*; pip install 'deeplab-toolkit\[web\]', or"):
        litert_js.load_litert_js()
