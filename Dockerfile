FROM python:3.13.16-slim-trixie AS base

FROM base AS build
COPY requirements/serve.txt /tmp/serve.txt
# Wheels only: nothing is compiled, so no compiler is needed, and no package runs code of its own here.
RUN python -m venv --without-pip /opt/venv \
 && pip --python /opt/venv install --no-cache-dir --disable-pip-version-check \
      --require-hashes --only-binary :all: --requirement /tmp/serve.txt

FROM base
WORKDIR /srv
COPY --from=build /opt/venv /opt/venv
COPY app app
COPY handlers handlers
COPY stores stores
COPY schemas schemas
COPY clients/python/peersync peersync
COPY clients/python/peersync_terminal peersync_terminal
COPY docs docs
ENV PATH=/opt/venv/bin:$PATH \
    APP_ENV=production \
    LOG_FORMAT=json \
    STORE_URL=memory:// \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 3000
STOPSIGNAL SIGTERM
# By http.client, which knows of no http_proxy; an empty TLS_CERT_PATH or PORT counts as none.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import http.client as h, os, ssl, sys; e = os.environ; w = {'host': '127.0.0.1', 'port': int(e.get('PORT', '').strip() or 3000), 'timeout': 2}; c = h.HTTPSConnection(**w, context=ssl._create_unverified_context()) if e.get('TLS_CERT_PATH', '').strip() else h.HTTPConnection(**w); c.request('GET', '/health/live'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["python", "-m", "app"]
CMD ["serve"]
