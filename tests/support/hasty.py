"""A plugin for tests: what has ten seconds by default has one."""

from app.gateway import gateway
from app.gateway.dispatch import Dispatcher
from app.wire import http
from handlers.table import HandlerTable

gateway.AUTH_SECONDS = http.REQUEST_SECONDS = 1.0
(Dispatcher.__init__.__kwdefaults__ or {})["patience"] = 1.0

table = HandlerTable()
