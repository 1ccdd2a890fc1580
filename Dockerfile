# One node in a container:
#   docker build -t meteorakvs/meteora .
#   docker run --rm --name meteora -p 5000:5000 -p 7000:7000 -v meteora:/var/lib/meteora meteorakvs/meteora
# Every option of `meteora start` can be set as METEORA_ and its long name: -e METEORA_ID=2.

FROM python:3.13-slim AS build
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN python -m venv /opt/meteora && /opt/meteora/bin/pip install --no-cache-dir .

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin meteora \
    && install --directory --owner=meteora --group=meteora /var/lib/meteora
COPY --from=build /opt/meteora /opt/meteora
ENV PATH=/opt/meteora/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    METEORA_KV_PORT=5000 \
    METEORA_RAFT_PORT=7000 \
    METEORA_DATA_DIRECTORY=/var/lib/meteora
USER 10001
VOLUME /var/lib/meteora
EXPOSE 5000 7000
# Healthy is a node that answers and knows a leader. Asked by its address, because METEORA_ENDPOINTS may name others.
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s \
    CMD ["/bin/sh", "-c", "exec meteora status -a \"127.0.0.1:$METEORA_KV_PORT\""]
ENTRYPOINT ["meteora"]
CMD ["start"]
