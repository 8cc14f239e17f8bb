"""A plugin for tests: what has ten seconds by default has one."""

from app.admission import http_admission
from app.gateway import gateway
from app.gateway.dispatch import Dispatcher
from handlers.table import HandlerTable

gateway.AUTH_SECONDS = http_admission.REQUEST_SECONDS = 1.0
(Dispatcher.__init__.__kwdefaults__ or {})["patience"] = 1.0

table = HandlerTable()
