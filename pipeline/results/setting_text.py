"""Settings as they are typed."""


def setting_text(value: object) -> str:
    """A recorded setting as it is typed."""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)
