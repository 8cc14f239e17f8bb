"""A plugin for tests: a connection request waits for two seconds, not for thirty."""

from app.compose import runtime
from handlers.table import HandlerTable

runtime.REQUEST_SECONDS = 2.0

table = HandlerTable()
