"""Long lines on a terminal: broken at spaces, what follows indented under their beginning."""

import re
import textwrap

HANGING = 4
"""Columns by which what follows is indented further than the line."""
_LABEL = re.compile(r"\s*[\w-]+ {2,}")
"""A label in a column of its own, as in ``  frames    28,130``."""
_WHOLE = ("|", "{", "[", "+-")
"""Tables and JSON are not broken."""


def wrapped(text: str, width: int) -> str:
    """`text` with no line longer than `width` columns, but for tables, JSON and single words; what
    follows a break stands under the text beside the line's label, or a little to the right of its
    beginning."""
    return "\n".join(part for line in text.split("\n") for part in _parts(line, width))


def _parts(line: str, width: int) -> list[str]:
    if len(line) <= width or line.lstrip().startswith(_WHOLE):
        return [line]
    label = _LABEL.match(line)
    indent = len(label[0]) if label else len(line) - len(line.lstrip()) + HANGING
    parts = textwrap.wrap(
        line,
        width,
        subsequent_indent=" " * min(indent, width // 2),
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
    )
    return parts or [line]
