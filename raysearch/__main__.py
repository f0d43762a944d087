"""`python -m raysearch`, the same as `raysearch`."""

from raysearch.cli.main import main

if __name__ == "__main__":
    main()
