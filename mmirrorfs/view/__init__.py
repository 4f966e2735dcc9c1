"""The filesystem without FUSE: names, attributes, listings and bytes of one view, as plain awaitable functions."""
