# One image for the API, the worker and every command: `docker run amrutam python -m web`, `… python worker.py`,
# `… python -m amrutam migrate`.

FROM python:3.13.16-slim-trixie AS base
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PATH=/opt/amrutam/bin:$PATH

FROM base AS packages
COPY requirements-production.lock /
# Bytecode is made here, once: the running container cannot write any.
RUN python -m pip install --no-cache-dir --disable-pip-version-check uv==0.13.9 \
    && python -m venv --without-pip /opt/amrutam \
    && uv pip install --no-cache --python /opt/amrutam/bin/python --compile-bytecode --require-hashes \
        -r /requirements-production.lock

FROM base
LABEL org.opencontainers.image.title="Amrutam" \
      org.opencontainers.image.description="A telemedicine backend on Temporal: API, worker and operator commands" \
      org.opencontainers.image.version="0.1.0"

# Pango typesets PDF documents; names in them may be in any script of India. Its minor releases bring security fixes,
# so the newest of this Debian is taken.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fonts-noto-core \
    && rm -rf /var/lib/apt/lists/*

# Volumes that are mounted here take over this owner.
RUN groupadd --gid 10001 amrutam \
    && useradd --uid 10001 --gid amrutam --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin amrutam \
    && install -d -o amrutam -g amrutam -m 0700 /var/lib/amrutam /var/lib/amrutam/keys \
        /var/lib/amrutam/audit /var/lib/amrutam/documents /var/lib/amrutam/mail

COPY --from=packages /opt/amrutam /opt/amrutam
WORKDIR /srv/amrutam
COPY . .
RUN python -m compileall -q .

USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# API and worker answer here once they can work; what only runs a command has no use for it.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ.get('METRICS_PORT', '9464')}/health/detail\", timeout=3)"]
CMD ["python", "-m", "web"]
