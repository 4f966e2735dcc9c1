"""The life of a mount: processes, signals, the request loop, the background, logs."""
