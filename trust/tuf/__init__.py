"""The trust state: bytes in, bytes out, with no I/O and no clock."""
