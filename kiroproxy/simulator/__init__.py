"""A strict stand-in for Kiro: imports nothing else of this package."""
