"""`python -m tests.load`: the load tools in bin/, on every platform."""

from tests.load.commands import main

main()
