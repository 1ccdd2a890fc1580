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


@pytest.fixture(scope="module")
def one_browser() -> Iterator[chromium.Chromium]:
    with chromium.Chromium() as browser:
        yield browser


@pytest.fixture
def browser(one_browser: chromium.Chromium) -> chromium.Chromium:
    """With an empty page, as if it had just been started."""
    one_browser.tell("Emulation.setScriptExecutionDisabled", value=False)
    one_browser.open("about:blank")
    one_browser.resize(1120, 800)
    one_browser.prefer("light")
    one_browser.events.clear()
    return one_browser


def at_once(condition: str) -> str:
    """JavaScript for a condition, for which the page asks its node again without waiting for the next time."""
    return f"(typeof wake === 'undefined' || wake(), {condition})"


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


def show(changes: str) -> str:
    """JavaScript for showing what the page's node says, changed by some JavaScript to `status`, from now on."""
    given = f"fetch('/status.json').then(reply => reply.json()).then(status => {{ {changes}; show(status) }})"
    return f"ask = async () => {{}}; {given}"


def open_page(browser: chromium.Chromium, cluster: ClusterProcesses, node: int) -> None:
    browser.open(page_of(cluster, node))
    browser.wait_until(f"{MEMBERS} === '1,2,3'")


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

    put(three.kv_ports[0], b"key", b"value")
    for node in (1, 2, 3):
        browser.wait_until(f"{cell(node, 'Applied')}.replaceAll(',', '') >= {applied(three, node)}")
    browser.wait_until("document.querySelectorAll('#plots svg path.first[d^=M]').length > 0")

    assert requested_hosts(browser) == {three.endpoints[follower - 1]}
    assert complaints(browser) == []


@pytest.mark.parametrize("width", [375, 1001, 1120])
def test_long_names_and_numbers_fit_the_page(three: ClusterProcesses, browser: chromium.Chromium, width: int) -> None:
    open_page(browser, three, 1)
    browser.resize(width, 700)
    name, index = "'meteora-1.meteora-headless.production.svc.cluster.local:5000'", 123456789
    member = f"kv_address: {name}, raft_address: {name}, applied_index: {index}, commit_index: {index}, lag: {index}"
    browser.evaluate(show(f"status.members.forEach(each => Object.assign(each, {{ {member} }}))"))
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    lines = "[...document.querySelectorAll('td.number')].map(each => getComputedStyle(each).whiteSpace).join()"
    assert set(browser.evaluate(lines).split(",")) == {"nowrap"}
    too_long = "[...document.querySelectorAll('td')].filter(each => each.scrollWidth > each.clientWidth).length"
    assert browser.evaluate(too_long) == 0


def test_the_page_is_light_or_dark_as_its_reader_likes_it(three: ClusterProcesses, browser: chromium.Chromium) -> None:
    open_page(browser, three, 1)
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
    browser.wait_until(at_once(f"document.querySelector('#alarms').textContent.includes('Node {lost} ')"))
    browser.wait_until(at_once(f"{cell(lost, 'State')} !== 'ok'"))
    assert browser.evaluate("document.title").endswith(" (!)")
    three.start_again()
    # Another one leads, and the page says which.
    leads = "document.querySelector('#members tr.leader')?.dataset.node"
    browser.wait_until(at_once(f"![undefined, '{lost}'].includes({leads})"))
    browser.wait_until(at_once(f"{cell(lost, 'State')} === 'ok'"))
    browser.wait_until(at_once("document.querySelector('#alarms').textContent === 'None'"))


def test_the_page_says_that_its_own_node_is_gone_and_goes_on_when_it_is_back(
    three: ClusterProcesses, browser: chromium.Chromium
) -> None:
    browser.open(page_of(three, 3))
    browser.wait_until("document.querySelector('#live').textContent === 'Live'")
    three.node(3).kill()
    browser.wait_until(at_once("document.querySelector('#live').textContent.includes('has not answered since')"))
    # What it said last is still there, and does not look as if it were true now.
    assert browser.evaluate(MEMBERS) == "1,2,3"
    assert browser.evaluate("document.querySelector('#main').className") == "old"
    assert browser.evaluate("document.title") == "Meteora node 3 (!)"
    three.start_again()
    browser.wait_until(at_once("document.querySelector('#live').textContent === 'Live'"))
    assert browser.evaluate("document.querySelector('#main').className") == ""


def test_without_javascript_the_page_names_the_command(three: ClusterProcesses, browser: chromium.Chromium) -> None:
    browser.tell("Emulation.setScriptExecutionDisabled", value=True)
    browser.tell("Page.navigate", url=page_of(three, 1))
    browser.wait_until("document.body && document.body.innerText.includes('meteora status')")


def test_what_nodes_say_is_text_whatever_it_looks_like(three: ClusterProcesses, browser: chromium.Chromium) -> None:
    open_page(browser, three, 1)
    harm = "window.harm=1"
    hostile = f"""'javascript:{harm}//"><img src=x onerror="{harm}"><script>{harm}</script>:5000'"""
    parts = ["cluster_id", "version", "members[1].id", "members[1].role", "members[1].state", "members[1].kv_address"]
    changes = [f"status.{part} = {hostile}" for part in [*parts, "alarms[0]", "events[0].text"]]
    # As of a page that was just opened, and so loads nothing anew.
    browser.evaluate(f"shownVersion = null; {show('; '.join(changes))}")
    shown = browser.evaluate("document.body.innerText")
    assert shown.count("<img src=x onerror=") >= len(parts)
    assert browser.evaluate("document.querySelectorAll('#main img, #main script').length") == 0
    links = browser.evaluate("[...document.querySelectorAll('#main a')].map(each => each.protocol).join()")
    # ":" is of an address that leads nowhere.
    assert set(links.split(",")) <= {"http:", ":"}
    assert browser.evaluate("window.harm") is None


def test_what_is_read_keeps_the_focus_and_the_selection_while_the_page_goes_on(
    three: ClusterProcesses, browser: chromium.Chromium
) -> None:
    leader = three.leader()
    open_page(browser, three, next(each for each in (1, 2, 3) if each != leader))
    browser.wait_until("document.querySelector('#where a') !== null")
    for link in ("#where a", f'#members tr[data-node="{leader}"] a'):
        browser.evaluate(f"document.querySelector('{link}').focus()")
        browser.evaluate("getSelection().selectAllChildren(document.querySelector('td[data-label=\"KV address\"]'))")
        selected = browser.evaluate("getSelection().toString()")
        browser.evaluate(show("status.members.forEach(each => { each.applied_index += 1 })"))
        assert browser.evaluate(f"document.activeElement === document.querySelector('{link}')")
        assert browser.evaluate("getSelection().toString()") == selected != ""


def test_members_that_leave_and_come_back_have_their_links(three: ClusterProcesses, browser: chromium.Chromium) -> None:
    open_page(browser, three, 1)
    browser.evaluate(show("status.members.splice(1, 1)"))
    assert browser.evaluate(MEMBERS) == "1,3"
    browser.evaluate(show(""))
    assert browser.evaluate(MEMBERS) == "1,2,3"
    assert browser.evaluate("document.querySelector('#members tr[data-node=\"2\"] a').href") == page_of(three, 2)


def test_a_page_that_is_open_for_hours_holds_no_more_than_at_first(
    three: ClusterProcesses, browser: chromium.Chromium
) -> None:
    def held() -> int:
        browser.tell("HeapProfiler.collectGarbage")
        return int(browser.tell("Memory.getDOMCounters")["nodes"])

    open_page(browser, three, 1)
    changes = """
        const samples = [...Array(150).keys()].map(at => [status.now - 300 + 2 * at, at, at, at, at, at]);
        for (let round = 0; round < 200; round += 1) {
            status.alarms = Array(round % 3).fill(`alarm ${round}`);
            status.events = [{ at: status.now, text: `event ${round}` }];
            status.members[1].kv_address = `127.0.0.1:${round + 1}`;
            show({ ...status, term: round, samples });
        }
        status.alarms = []; status.events = []"""
    browser.evaluate(show(changes))
    before = held()
    browser.evaluate(show(changes))
    assert held() <= before + 100


def test_a_page_of_another_release_is_loaded_anew(three: ClusterProcesses, browser: chromium.Chromium) -> None:
    open_page(browser, three, 1)
    browser.evaluate("window.isOld = true")
    # Later: an answer from a page that is left may never come.
    changed = show("status.version = 'another'")
    browser.evaluate(f"setTimeout(() => {{ {changed} }}, 0)")
    browser.wait_until(f"window.isOld === undefined && {MEMBERS} === '1,2,3'")


def test_what_can_not_be_shown_is_no_reason_to_stop_asking(three: ClusterProcesses, browser: chromium.Chromium) -> None:
    open_page(browser, three, 1)
    browser.evaluate("window.failures = 0; showPlots = () => { window.failures += 1; throw new Error('a bug') }")
    browser.wait_until(at_once("window.failures >= 3"))
    assert browser.evaluate("document.querySelector('#live').textContent") == "Live"
