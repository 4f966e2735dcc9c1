"""The life of a mount: processes, signals, the request loop, daemonizing, the control socket, logs."""
