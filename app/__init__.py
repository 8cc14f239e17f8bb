"""How it is reached: the composition root, and what knows Starlette, uvicorn and joserfc."""

VERSION = "0.1.0"
