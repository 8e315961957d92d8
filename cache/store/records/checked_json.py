"""JSON that carries its own checksum, so that no changed byte goes unseen."""

import google_crc32c

_KEY = b',"crc32c":'


def encode(body: bytes) -> bytes:
    """`body`, a JSON object that is not empty, with the crc32c of its bytes as its last entry."""
    return body[:-1] + _KEY + str(google_crc32c.value(body)).encode() + b"}"


def decode(data: bytes) -> bytes:
    """The inverse of `encode`.

    Another spelling of the same values (a longer number, an upper-case escape) is damage too: the
    checksum is that of the bytes.

    Raises:
        ValueError: `data` is not byte for byte what `encode` writes.
    """
    head, key, _ = data.rpartition(_KEY)
    if not key:
        raise ValueError("checksum is missing")
    body = head + b"}"
    if encode(body) != data:
        raise ValueError("checksum differs")
    return body
