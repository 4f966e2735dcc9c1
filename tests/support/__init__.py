"""What the tests stand on. But for ``build`` and what is for pure code, nothing here imports mmirrorfs: the program is met
from the outside."""
