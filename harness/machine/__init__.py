"""A QEMU on a transport: specification, argv, process, console, QMP, SSH."""
