"""``python -m mmirrorfs`` is the command."""

from mmirrorfs.cli.main import main

if __name__ == "__main__":
    main()
