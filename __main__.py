"""The `clever` command, as the console script and as `python -m clever`: from its first moment on,
Ctrl-C ends it with one line."""

import _signal  # pyright: ignore[reportMissingImports]  # `signal` itself imports enum first
import os


def main() -> None:
    """Entry point: import the command and run it; jobs answer signals themselves."""
    for number in (_signal.SIGINT, _signal.SIGTERM):
        if _signal.getsignal(number) != _signal.SIG_IGN:  # as in the background of a shell
            _signal.signal(number, _end)
    from .cli.main import main as run

    run()


def _end(_: int, __: object) -> None:
    """End at once: an exception would leave the imports half done."""
    os.write(2, b"stopped\n")
    os._exit(130)


if __name__ == "__main__":
    main()
