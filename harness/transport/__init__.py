"""How bytes and commands move: to this machine, or over SSH."""
