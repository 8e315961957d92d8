"""The `clever` command, as the console script and as `python -m clever`: from its first moment on,
Ctrl-C ends it with one line."""

from .pipeline.process.termination import INTERRUPTED, signals_exit


def main() -> None:
    """Entry point: import the command and run it; jobs answer signals themselves."""
    with signals_exit("stopped", INTERRUPTED):
        from .cli.main import main as run

        run()


if __name__ == "__main__":
    main()
