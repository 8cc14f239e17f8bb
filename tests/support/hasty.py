"""A plugin for tests: what has ten seconds by default has one."""

from app.wire import gateway, http
from app.wire.dispatch import Dispatcher
from handlers.table import HandlerTable

gateway.AUTH_SECONDS = http.REQUEST_SECONDS = 1.0
(Dispatcher.__init__.__kwdefaults__ or {})["patience"] = 1.0

table = HandlerTable()
