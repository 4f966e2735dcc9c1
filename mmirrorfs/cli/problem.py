"""The one error of the command line: a line for a person, and an exit code of mount(8)'s."""

USAGE, SYSTEM, INTERRUPTED, FAILED = 1, 2, 8, 32


class Problem(Exception):
    """What is wrong and what to do, in one line. ``code`` is the exit code."""

    def __init__(self, message: str, code: int = USAGE) -> None:
        super().__init__(message)
        self.code = code
