"""The tiny network of the conversion tests."""

from tests.conversion.conftest import workshop

__all__ = ["workshop"]
