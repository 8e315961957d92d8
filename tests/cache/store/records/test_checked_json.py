"""Checked JSON comes back as it was and refuses every other spelling of it."""

import json
import math

import pytest

from clever.cache.store.records import checked_json

BODY = {
    "id": 'é"\\\u2028',
    "values": [0.1, 1e22, -0.0, 12345678901234567890, math.pi, 0.30000000000000004],
    "none": None,
}
BYTES = json.dumps(BODY, separators=(",", ":")).encode()


def test_round_trip() -> None:
    data = checked_json.encode(BYTES)
    assert list(json.loads(data)) == [*BODY, "crc32c"]
    assert checked_json.decode(data) == BYTES


@pytest.mark.parametrize("bit", range(8))
def test_every_bit_counts(bit: int) -> None:
    data = checked_json.encode(BYTES)
    for offset in range(len(data)):
        changed = bytearray(data)
        changed[offset] ^= 1 << bit
        with pytest.raises(ValueError):  # noqa: PT011 - UnicodeDecodeError, JSONDecodeError too
            checked_json.decode(bytes(changed))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\\u00e9", b"\\u00E9"),
        (b"3.141592653589793", b"3.1415926535897930"),
        (b"0.30000000000000004", b"0.30000000000000005"),
        (b"1e+22", b"1E+22"),
        (b'"none":', b'"none": '),
        (b"}", b"}\n"),
        (b'{"id":', b'{"id":1,"id":'),
    ],
)
def test_other_spellings_of_the_same_values(old: bytes, new: bytes) -> None:
    data = checked_json.encode(BYTES)
    assert old in data
    changed = data.replace(old, new)
    assert json.loads(changed) == json.loads(data)
    with pytest.raises(ValueError, match="checksum differs"):
        checked_json.decode(changed)


@pytest.mark.parametrize("data", [b"", b"[]", b"1", b"{}", b'{"a":1}', b"\xff"])
def test_other_content(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        checked_json.decode(data)
