"""``python -m bcpatch``: the command line, for where its script is not on the path."""

from bcpatch.cli import main

if __name__ == "__main__":
    main()
