"""A soak: clients that leave at random, for a long time, and what they leave behind."""
