"""``python -m benchmark``, run by scripts/bench."""

import sys

from benchmark.main import main

if __name__ == "__main__":
    sys.exit(main())
