"""How many files a process may have open at once."""

import resource

from ...errors import CleverError


def allow_open_files(count: int, users: str, advice: str) -> None:
    """Let this process, and those that it starts, open `count` files at once.

    The soft limit rises where the hard one lets it. Without this check processes die of the
    shortage in the middle of something, one after the other.

    Args:
        users: what needs them, in the plural.
        advice: what a user can do instead.

    Raises:
        CleverError: the hard limit is lower.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= count:
        return
    if hard != resource.RLIM_INFINITY and hard < count:
        raise CleverError(
            f"{users} need {count} open files at once and this process may have {hard}; {advice}, "
            "or raise the limit (ulimit -n)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
