"""What measures kiroproxy: micro-benchmarks, instruction counts, and rounds against others."""
