# A node in a container (docs/deployment.md):
#   docker build -t meteorakvs/meteora .
#   docker run --rm --name meteora -p 5000:5000 -p 7000:7000 -v meteora:/var/lib/meteora meteorakvs/meteora
# Every option of `meteora start` can be set as METEORA_ and its long name: -e METEORA_ID=2.
# Nothing but the volume is written to: --read-only works.

ARG PYTHON_TAG=3.13.11-slim-trixie

FROM python:${PYTHON_TAG} AS build
WORKDIR /build
COPY deploy/container/requirements.txt deploy/container/build-requirements.txt ./
# Of fixed versions, by hash, and as wheels only: nothing is compiled.
RUN python -m venv --without-pip /opt/meteora \
    && pip --python /opt/meteora/bin/python install --no-cache-dir --only-binary :all: --require-hashes -r requirements.txt \
    && pip install --no-cache-dir --only-binary :all: --require-hashes -r build-requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
    && pip --python /opt/meteora/bin/python install --no-cache-dir --no-deps --no-index /wheels/*.whl

FROM python:${PYTHON_TAG}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Meteora" \
      org.opencontainers.image.description="A distributed key-value store: Raft for agreement, RocksDB on disk, gRPC on the wire." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN groupadd --system --gid 10001 meteora \
    && useradd --system --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin meteora \
    && install --directory --owner=meteora --group=meteora --mode=0700 /var/lib/meteora
COPY --from=build /opt/meteora /opt/meteora
ENV PATH=/opt/meteora/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    METEORA_KV_PORT=5000 \
    METEORA_RAFT_PORT=7000 \
    METEORA_METRICS_ADDRESS=127.0.0.1:5080 \
    METEORA_DATA_DIRECTORY=/var/lib/meteora
USER 10001:10001
VOLUME /var/lib/meteora
EXPOSE 5000 7000
# On it a node hands leadership over, answers what it has begun to, and stops.
STOPSIGNAL SIGTERM
# Healthy is a node that is ready. Asked where no certificate is needed; the KV port is for those who took that away.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import http.client, os; \
        address = os.environ.get('METEORA_METRICS_ADDRESS') or '127.0.0.1:' + os.environ['METEORA_KV_PORT']; \
        connection = http.client.HTTPConnection(address, timeout=4); \
        connection.request('GET', '/readyz'); \
        raise SystemExit(connection.getresponse().status != 200)"]
ENTRYPOINT ["meteora"]
CMD ["start"]
