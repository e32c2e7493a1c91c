"""KIRO OUT: everything that leaves for Kiro and comes back."""
