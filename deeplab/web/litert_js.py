"""LiteRT.js, the runtime inside the page: fetched once by npm, in one exact version, and checked by its SHA-512."""

import base64
import hashlib
import io
import os
import re
import shutil
import subprocess
import sysconfig
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deeplab.errors import UserError
from deeplab.files import atomic_write

PACKAGE, VERSION = "@litertjs/core", "2.5.3"
INTEGRITY = "sha512-PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ=="
"""SHA-512 of the package's archive, as npm publishes it."""

ARCHIVE = f"litertjs-core-{VERSION}.tgz"
"""Name of the archive, as `npm pack` writes it."""

_MEMBERS = ("dist/index.js", "wasm/litert_wasm_compat_internal.js", "wasm/litert_wasm_compat_internal.wasm")
"""Files of the package: library, loader and WebAssembly module."""

_STATEMENTS = re.compile(
    r"^(import \{.*?\} from .*?;|export \{.*?\};|//# sourceMappingURL=.*?)$", re.DOTALL | re.MULTILINE
)
"""Statements of a module, and the address of a source map, which a browser's developer tools would request."""

_NPM_OPTIONS = ("--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--loglevel=error")
"""One retry after a second; npm's own default takes more than a minute without a network."""

_TIMEOUT = 300.0
"""Seconds for the download of 12 MB."""


@dataclass(frozen=True)
class LiteRtJs:
    """The parts of LiteRT.js that a page needs.

    Attributes:
        core: the JavaScript library, without its import and export statements, so that it can be part of a script.
        loader: the JavaScript that starts the WebAssembly module.
        wasm: the WebAssembly module. The `compat` build runs in every current browser: it needs neither relaxed SIMD
            nor threads, which a page opened as a file cannot have.
    """

    core: str
    loader: str
    wasm: bytes


def load_litert_js(report_progress: Callable[[str], object] = lambda _: None) -> LiteRtJs:
    """Read LiteRT.js from the cache folder of the user; npm fetches it on first use.

    Raises:
        UserError: npm is missing or fails, or the archive has another SHA-512 than expected.
    """
    path = archive_path()
    if path.is_file():
        content = path.read_bytes()
        _check(content, str(path), "delete this file")
    else:
        report_progress(f"Fetching {PACKAGE} {VERSION} by npm ...")
        content = _fetch()
        _check(content, "npm", "use the official registry of npm")
        with atomic_write(path) as temporary:
            temporary.write_bytes(content)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        core, loader, wasm = (_member(archive, name) for name in _MEMBERS)
    return LiteRtJs(_STATEMENTS.sub("", core.decode()), loader.decode(), wasm)


def archive_path() -> Path:
    """Return the path of the archive in the cache folder: $XDG_CACHE_HOME/deeplab, or ~/.cache/deeplab."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deeplab" / ARCHIVE


def _check(content: bytes, subject: str, remedy: str) -> None:
    actual = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
    if actual != INTEGRITY:
        problem = f"expected {PACKAGE} {VERSION} with {INTEGRITY[:19]}..., got {actual[:19]}..."
        raise UserError(subject, problem, remedy)


def _fetch() -> bytes:
    """Return the archive that npm downloads with the user's own npm settings (registry, proxy)."""
    by_hand = f"or run `npm pack {PACKAGE}@{VERSION}` elsewhere and copy {ARCHIVE} to {archive_path().parent}"
    # The extra "web" installs npm next to this Python, which is not always on the PATH.
    npm = shutil.which("npm") or shutil.which("npm", path=sysconfig.get_path("scripts"))
    if npm is None:
        problem = f"is not installed, and the page needs {PACKAGE} {VERSION}"
        raise UserError("npm", problem, f"pip install 'deeplab-toolkit[web]', {by_hand}")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", f"{PACKAGE}@{VERSION}", *_NPM_OPTIONS]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UserError("npm", f"cannot fetch {PACKAGE} {VERSION} ({error})", f"try again, {by_hand}") from error
        archive = Path(folder) / ARCHIVE
        if done.returncode or not archive.is_file():
            reason = _reason(done.stderr) or f"exit code {done.returncode}"
            remedy = f"check the network and the settings of npm, {by_hand}"
            raise UserError("npm", f"cannot fetch {PACKAGE} {VERSION} ({reason})", remedy)
        return archive.read_bytes()


def _reason(messages: str) -> str:
    """Return the first sentence among npm's messages: the first lines are codes such as "code ECONNREFUSED"."""
    lines = [line.removeprefix("npm error ") for line in messages.splitlines() if line.startswith("npm error ")]
    return next((line for line in lines if len(line.split()) > 3), lines[0] if lines else "")


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(f"package/{name}")
    assert file is not None, name
    return file.read()
