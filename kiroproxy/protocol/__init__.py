"""TRANSLATE: Anthropic Messages to Kiro and back; pure, no I/O, no clock."""
