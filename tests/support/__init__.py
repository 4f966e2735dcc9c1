"""What the ring of real mounts stands on. Nothing here imports mmirrorfs: the program is met from the outside."""
