"""Between the view and the kernel: translates requests, keeps the index current, publishes changes."""
