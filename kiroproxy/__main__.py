"""`python -m kiroproxy`: the same as the `kiroproxy` command."""

from kiroproxy.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
