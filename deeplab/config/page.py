"""The settings of the page that runs a .tflite file in a browser."""

from dataclasses import dataclass

from deeplab.config.commands import Fit
from deeplab.config.mapping import check_fields


@dataclass(frozen=True)
class PageConfig:
    """Settings of export.py page=FILE, which writes one HTML file that runs a .tflite file in a browser.

    Attributes:
        page: the .tflite file.
        out: the .html file to write; null is FILE.html next to FILE.tflite.
        fit: how images meet a file of another input size, as in predict.py: auto (pad, stretch larger ones), pad or
            stretch.
        example: an image that the page contains and shows first; null is none, or a drawn scene for a file with the
            classes of the built-in demo.
    """

    page: str
    out: str | None = None
    fit: Fit = "auto"
    example: str | None = None

    def __post_init__(self) -> None:
        """Raise UserError if a value is out of range."""
        check_fields(self)
