"""A relay for one UNIX socket on a host: listens, says so, accepts one peer, says so, then copies both ways.

SSH could forward UNIX sockets itself, but paramiko has no such channel. Whichever of perl and python3 the host has serves.
"""

from __future__ import annotations

READY = b"ready\n"
"""Written when the socket listens, and again when the peer is there."""

_PYTHON = """
import os, select, socket, sys
os.umask(0o077)
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(1)
os.write(1, b"ready\\n")
if listener in select.select([listener, 0], [], [])[0]:
    peer = listener.accept()[0]
    os.unlink(sys.argv[1])
    os.write(1, b"ready\\n")
    while True:
        readable = select.select([peer, 0], [], [])[0]
        if peer in readable:
            data = peer.recv(65536)
            if not data: break
            while data: data = data[os.write(1, data):]
        if 0 in readable:
            data = os.read(0, 65536)
            if not data: break
            peer.sendall(data)
"""

_PERL = """
use strict; use Socket;
umask 077;
my $path = $ARGV[0];
sub all {
    my ($to, $data) = @_;
    while (length $data) { my $n = syswrite($to, $data); exit 1 unless defined $n; substr($data, 0, $n) = ""; }
}
sub readable {
    my $bits = "";
    vec($bits, fileno($_), 1) = 1 for @_;
    select($bits, undef, undef, undef);
    return map { vec($bits, fileno($_), 1) } @_;
}
socket(my $listener, AF_UNIX, SOCK_STREAM, 0) or die "socket: $!";
bind($listener, sockaddr_un($path)) or die "bind $path: $!";
listen($listener, 1) or die "listen: $!";
all(\\*STDOUT, "ready\\n");
my ($called) = readable($listener, \\*STDIN);
exit 0 unless $called;
accept(my $peer, $listener) or die "accept: $!";
unlink $path;
all(\\*STDOUT, "ready\\n");
while (1) {
    my ($from_peer, $from_us) = readable($peer, \\*STDIN);
    my $data;
    if ($from_peer) { last unless sysread($peer, $data, 65536); all(\\*STDOUT, $data); }
    if ($from_us) { last unless sysread(STDIN, $data, 65536); all($peer, $data); }
}
"""

_CHOICE = """
if command -v perl >/dev/null; then exec perl -e "$2" "$1"
elif command -v python3 >/dev/null; then exec python3 -c "$3" "$1"
else echo "neither perl nor python3 here" >&2; exit 127
fi
"""


def relay_argv(path: str) -> list[str]:
    """Return the argv that relays the UNIX socket ``path`` to its own standard input and output."""
    return ["sh", "-c", _CHOICE, "relay", path, _PERL, _PYTHON]
