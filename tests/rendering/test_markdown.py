"""Values in Markdown documents show as they are."""

import pytest
from markupsafe import Markup

from deeplab.rendering.markdown import markdown_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a|b", r"a\|b"),
        ("<b>*x*</b>", r"\<b\>\*x\*\</b\>"),
        ("_x_ of depth_1", r"\_x\_ of depth_1"),
        ("[link](x) `code` ~y~ &amp; $z$", r"\[link\](x) \`code\` \~y\~ \&amp; \$z\$"),
        ("two\n\n# lines", "two # lines"),
        ("\x1b[0m", r"\\x1b\[0m"),
        (3, "3"),
        (Markup("<b>"), "<b>"),
    ],
)
def test_a_value_is_one_line_without_syntax(value, text):
    assert markdown_text(value) == text
