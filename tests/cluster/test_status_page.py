"""The status page of real nodes, as a real Chromium shows it."""

import http.client
import json
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

from tests.cluster.processes import ClusterProcesses, put
from tools import chromium

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.xdist_group("status page"),
    pytest.mark.skipif(chromium.path() is None, reason="chromium is not installed (Debian: apt-get install chromium)"),
]

MEMBERS = "[...document.querySelectorAll('#members tr')].map(row => row.dataset.node).join()"


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[ClusterProcesses]:
    """Three nodes for all tests here. Who kills one starts it again."""
    cluster = ClusterProcesses(tmp_path_factory.mktemp("page"), [free_port() for _ in range(6)])
    try:
        yield cluster.start()
    finally:
        cluster.end()


@pytest.fixture
def browser() -> Iterator[chromium.Chromium]:
    with chromium.Chromium() as browser:
        browser.resize(1120, 800)
        yield browser


def cell(node: int, label: str) -> str:
    """JavaScript for what stands in the row of a member."""
    return f'document.querySelector(\'#members tr[data-node="{node}"] td[data-label="{label}"]\')?.textContent'


def page_of(cluster: ClusterProcesses, node: int) -> str:
    return f"http://127.0.0.1:{cluster.kv_ports[node - 1]}/"


def applied(cluster: ClusterProcesses, node: int) -> int:
    """As the page's own source says, shown as the page shows it."""
    connection = http.client.HTTPConnection("127.0.0.1", cluster.kv_ports[node - 1], timeout=10)
    try:
        connection.request("GET", "/status.json")
        members = json.loads(connection.getresponse().read())["members"]
    finally:
        connection.close()
    return next(int(each["applied_index"]) for each in members if each["id"] == str(node))


def requested_hosts(browser: chromium.Chromium) -> set[str]:
    browser.evaluate("1")
    sent = [each["params"] for each in browser.events if each["method"] == "Network.requestWillBeSent"]
    return {urlsplit(each["request"]["url"]).netloc for each in sent}


def complaints(browser: chromium.Chromium) -> list[object]:
    """What a reader would find in the console."""
    methods = {"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"}
    return [each["params"] for each in browser.events if each["method"] in methods]


def test_the_page_lists_the_members_and_follows_writes_without_asking_another_host(
    three: ClusterProcesses, browser: chromium.Chromium
) -> None:
    leader = three.leader()
    follower = next(each for each in (1, 2, 3) if each != leader)
    browser.open(page_of(three, follower))
    browser.wait_until(f"{MEMBERS} === '1,2,3'")
    assert browser.evaluate(cell(leader, "Role")) == "leader"
    assert browser.evaluate("document.querySelector('#where a').textContent") == f"node {leader}"
    assert browser.evaluate("document.querySelector('#where a').href") == page_of(three, leader)
    assert browser.evaluate(cell(leader, "KV address")) == three.endpoints[leader - 1]
    browser.wait_until("document.querySelector('#alarms').textContent === 'None'")
    browser.wait_until("document.querySelector('#events').textContent.includes('leads in term')")

    for number in range(5):
        put(three.kv_ports[0], b"key", b"%d" % number)
    for node in (1, 2, 3):
        browser.wait_until(f"{cell(node, 'Applied')}.replaceAll(',', '') >= {applied(three, node)}")
    browser.wait_until("document.querySelectorAll('#plots svg path.first[d^=M]').length > 0")

    assert requested_hosts(browser) == {three.endpoints[follower - 1]}
    assert complaints(browser) == []


def test_the_page_fits_a_phone_and_has_both_colours(three: ClusterProcesses, browser: chromium.Chromium) -> None:
    browser.resize(375, 700)
    browser.open(page_of(three, 1))
    browser.wait_until(f"{MEMBERS} === '1,2,3'")
    assert browser.evaluate("document.documentElement.scrollWidth") == 375
    grounds = []
    for scheme in ("light", "dark"):
        browser.prefer(scheme)
        ground = browser.evaluate("getComputedStyle(document.body).backgroundColor")
        grounds.append(sum(map(int, ground.removeprefix("rgb(").removesuffix(")").split(","))))
    light, dark = grounds
    assert light > 600
    assert dark < 150


def test_a_loss_is_an_alarm_on_the_others_pages_until_the_node_is_back(
    three: ClusterProcesses, browser: chromium.Chromium
) -> None:
    lost = three.leader()
    page = next(each for each in (1, 2, 3) if each != lost)
    browser.open(page_of(three, page))
    browser.wait_until(f"{cell(lost, 'State')} === 'ok'")
    three.node(lost).kill()
    browser.wait_until(f"document.querySelector('#alarms').textContent.includes('Node {lost} ')")
    browser.wait_until(f"{cell(lost, 'State')} !== 'ok'")
    # Another one leads, and the page says which.
    browser.wait_until(f"document.querySelector('#members tr.leader')?.dataset.node !== '{lost}'")
    three.start_again()
    browser.wait_until(f"{cell(lost, 'State')} === 'ok'")
    browser.wait_until("document.querySelector('#alarms').textContent === 'None'")


def test_the_page_says_that_its_own_node_is_gone_and_goes_on_when_it_is_back(
    three: ClusterProcesses, browser: chromium.Chromium
) -> None:
    browser.open(page_of(three, 3))
    browser.wait_until("document.querySelector('#live').textContent === 'Live'")
    three.node(3).kill()
    browser.wait_until("document.querySelector('#live').textContent.includes('no answer since')")
    three.start_again()
    browser.wait_until("document.querySelector('#live').textContent === 'Live'")


def test_without_javascript_the_page_names_the_command(three: ClusterProcesses, browser: chromium.Chromium) -> None:
    browser.tell("Emulation.setScriptExecutionDisabled", value=True)
    browser.tell("Page.navigate", url=page_of(three, 1))
    browser.wait_until("document.body && document.body.innerText.includes('meteora status')")
