"""Between the view and the kernel: requests translated, the index kept current, the kernel told of changes."""
