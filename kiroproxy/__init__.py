"""An Anthropic Messages API gateway in front of Kiro."""

__version__ = "0.1.0"
