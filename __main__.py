"""`python -m clever` is the `clever` command."""

from .cli.main import main

main()
