"""Real processes, asked as an operator would ask them: by plain HTTP, and nothing of ours."""

import http.client
import json

from tests.cluster.processes import START_SECONDS, ClusterProcesses, wait_until

ASK_SECONDS = 10.0


def ask(port: int, path: str, body: str | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ASK_SECONDS)
    try:
        headers = {"content-type": "application/json"} if body else {}
        connection.request("POST" if body else "GET", path, body, headers)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_a_cluster_is_used_by_http_and_says_when_its_majority_is_gone(three_nodes: ClusterProcesses) -> None:
    first, _, last = three_nodes.kv_ports
    put = ask(first, "/meteora.kv.KvService/Put", '{"key": "a2V5", "value": "dmFsdWU="}')
    assert (put[0], json.loads(put[1])["state"]) == (200, "OK")
    assert json.loads(ask(last, "/meteora.kv.KvService/Get", '{"key": "a2V5"}')[1])["value"] == "dmFsdWU="
    assert (ask(last, "/livez")[0], ask(last, "/readyz")[0]) == (200, 200)
    assert "meteora_server_has_leader 1.0" in ask(last, "/metrics")[1]
    three_nodes.node(1).kill()
    three_nodes.node(2).kill()
    wait_until(lambda: ask(last, "/readyz")[0] == 503, "the last node is not ready", START_SECONDS)
    assert ask(last, "/livez")[0] == 200
    wait_until(lambda: "meteora_server_has_leader 0.0" in ask(last, "/metrics")[1], "no leader", START_SECONDS)
