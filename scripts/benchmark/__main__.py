"""``python -m benchmark``, which is what scripts/bench runs."""

import sys

from benchmark.main import main

if __name__ == "__main__":
    sys.exit(main())
