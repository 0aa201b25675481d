"""`python -m medseg` and the `medseg` command."""

from medseg.cli.app import main

if __name__ == "__main__":
    main()
