"""A plugin for tests: what a connection that is sent away still sends is discarded for less than a second."""

from app.wire import http
from handlers.table import HandlerTable

http.DISCARD_SECONDS = 0.2

table = HandlerTable()
