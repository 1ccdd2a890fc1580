import asyncio

import grpc
import pytest

from meteora.transport.channel import open_channel

CONNECT_SECONDS = 10.0


def test_a_proxy_for_the_rest_of_the_world_is_not_for_other_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = "http://127.0.0.1:1"
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, nobody)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("no_grpc_proxy", raising=False)

    async def run() -> None:
        server = grpc.aio.server()
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with asyncio.timeout(CONNECT_SECONDS), open_channel(f"127.0.0.1:{port}") as channel:
                await channel.channel_ready()
        finally:
            await server.stop(0)

    asyncio.run(run())
