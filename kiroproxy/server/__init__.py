"""CLIENTS IN: the HTTP face of the gateway; the one place that sees both sides."""
