"""Preparation of TFDS sets, which leaves nothing incomplete."""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deeplab.errors import UserError


def prepare(builder: Any, subject: str, download: bool) -> None:
    """Prepare a TFDS set if necessary.

    Args:
        builder: the builder of the set.
        subject: the setting that names the set, for messages.
        download: download and prepare the set if it is not prepared.

    Raises:
        UserError: the set is not prepared and `download` is false, or its preparation fails.
    """
    if builder.is_prepared():
        return
    if not download:
        problem = f"is not prepared in {Path(builder.data_path).parent}"
        remedy = "add data.download=true to download and prepare it, or correct data.root, the folder of prepared sets"
        raise UserError(subject, problem, remedy)
    try:
        with warnings.catch_warnings(), _few_retries(), _removing_incomplete_files(builder):
            warnings.simplefilter("ignore")
            builder.download_and_prepare()
    except UserError:
        raise
    except Exception as error:  # errors of TFDS, the network, the manual folder and the disk share no class
        problem = f"cannot be prepared ({(str(error).strip() or type(error).__name__).splitlines()[0]})"
        remedy = "check the network and the free space; see tensorflow.org/datasets/catalog"
        raise UserError(subject, problem, remedy) from None


@contextmanager
def _removing_incomplete_files(builder: Any) -> Iterator[None]:
    """Delete what the block leaves incomplete if it fails; complete downloads are kept."""
    prepared = Path(builder.data_path)
    # The parts of the full name are set, config (if any) and version.
    depth = len(builder.info.full_name.split("/"))
    root, data_set = prepared.parents[depth - 1], prepared.parents[depth - 2]
    downloads = root / "downloads"
    outer = [path for path in (root, *root.parents) if not path.exists()]
    before = {path for place in (data_set, downloads) for path in (place, *place.rglob("*")) if path.exists()}
    try:
        yield
    except BaseException:
        for place in (data_set, downloads):
            for path in sorted({place, *place.rglob("*")} - before, reverse=True):
                if path.is_dir() and not any(path.iterdir()):
                    path.rmdir()
                elif path.is_file() and not (place == downloads and _is_complete(path, downloads)):
                    path.unlink()
        for path in outer:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        raise


def _is_complete(path: Path, downloads: Path) -> bool:
    """Return whether a file in the folder of downloads is a complete download, or describes one (.INFO)."""
    if re.search(r"\.tmp\.|incomplete", str(path.relative_to(downloads))):
        return False
    return path.suffix != ".INFO" or path.with_suffix("").exists()


@contextmanager
def _few_retries() -> Iterator[None]:
    """Limit the retries of a download to a few seconds; TFDS retries for minutes if there is no network."""
    from tensorflow_datasets.core.download import downloader

    logger = logging.getLogger("urllib3")
    retries, level = downloader.MAX_RETRIES, logger.level
    downloader.MAX_RETRIES = 4
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        downloader.MAX_RETRIES = retries
        logger.setLevel(level)
