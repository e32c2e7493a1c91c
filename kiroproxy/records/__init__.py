"""What is kept of the past: requests with their attempts, usage, client keys, the audit log."""
