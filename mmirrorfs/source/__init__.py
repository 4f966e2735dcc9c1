"""One source tree: the only code that opens, lists or stats anything in it."""
