"""Code that several test modules share. Tests of mounts use the real command, and no code of mmirrorfs."""
