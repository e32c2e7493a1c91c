"""kiroproxy beside nginx and a plain Python proxy, under the same load, in turn.

Source: the method is at the top of benchmarks/README.md, as `report` writes it.
"""
