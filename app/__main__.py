"""`python -m app`: the same commands as in bin/, on every platform."""

from app.cli.commands import main

main()
