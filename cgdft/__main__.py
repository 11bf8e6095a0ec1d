"""`python -m cgdft` is the command line."""

import sys

from cgdft.cli import main

if __name__ == "__main__":
    sys.exit(main())
