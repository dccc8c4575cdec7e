"""Markdown documents: Jinja2 templates in which every value is escaped."""

import re
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from deeplab.errors import printable

_SYNTAX = re.compile(r"[\\`*<>\[\]|~&$]|(?<![^\W_])_|_(?![^\W_])")
"""What Markdown reads as syntax inside a line or a table cell; an underscore between letters is none."""


def markdown_text(value: object) -> str:
    """Return a value as one line of Markdown that shows it as it is; `Markup` is returned unchanged."""
    if isinstance(value, Markup):
        return str(value)
    return _SYNTAX.sub(lambda found: f"\\{found[0]}", printable(re.sub(r"\s+", " ", str(value))))


_TEMPLATES = Environment(
    # Values are escaped for Markdown, not for HTML.
    autoescape=False,
    finalize=markdown_text,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    loader=PackageLoader("deeplab.rendering"),
)


def render_markdown(template: str, **context: Any) -> str:
    """Render a Markdown template of `templates/`; the values of `context` are escaped, except Markup."""
    return re.sub(r"\n{3,}", "\n\n", _TEMPLATES.get_template(template).render(context)).strip() + "\n"
