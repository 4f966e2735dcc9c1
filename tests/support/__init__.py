"""What the tests stand on. What tests of mounts use does not import mmirrorfs: the program is met from the outside."""
