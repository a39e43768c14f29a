"""Names by which this machine reaches itself, and those that let every other machine in."""

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
EVERYWHERE = ("0.0.0.0", "::")
