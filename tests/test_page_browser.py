"""test_page_browser.py: the page as a reader uses it, in a headless Chromium against `strata serve`: drag, keys, scrub, zoom, links, exports, languages,
projector, a narrow screen, the static export. Called by tests/test_page_browser.sh; ends with the counts that tests/run.sh reads."""
import csv
import json
import os
import re
import struct
import subprocess
import sys
import time
import traceback
import urllib.request
import xml.etree.ElementTree

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from page_looks import test_canvases, test_looks, test_static, test_tours  # noqa: E402
from page_tools import BUILD, DRAWN, MODEL, STRATA, TEXT, WIDTH, Server, check, counts  # noqa: E402
from test_page_cdp import Browser, Page, find_browser  # noqa: E402


def order_of(page):
    return page.js("document.querySelector('.spec').textContent")


def settled(page, order):
    """The lab shows this order and its answer."""
    return page.wait(f"document.querySelector('.spec').textContent === {json.dumps(order)} && decodeURIComponent(location.hash).includes('order={order}')")


def test_lab(page, server):
    page.go(server.url)
    check("the lab opens", page.wait("document.querySelectorAll('.tok').length > 5"))
    check("on a ready sentence with one layer removed", page.js("document.querySelectorAll('.plate').length === 12 && document.querySelectorAll('.plate.off').length === 1"))
    text = page.js("document.querySelector('#sentence').value")
    order = order_of(page)
    answer = server.post("run", {"text": text, "order": order, "top": 10})
    shown = page.js("[...document.querySelectorAll('.tokens .tok .val')].map(e => e.textContent)")
    expected = ["·"] + [f"{v:+.2f}" for v in answer["delta_nll"][1:]]
    same = [a.replace("−", "-").lstrip("+") for a in shown[:-1]] == [re.sub(r"^-0\.00$", "0.00", b).lstrip("+") for b in expected]
    check("numbers under the tokens are the API's", same, f"{shown} {expected}")
    check("perplexity is the API's", page.js("document.querySelector('.readouts strong').textContent") == f"{answer['variant']['ppl']:.3g}")
    page.shot(f"{BUILD}/page_lab.png")

    off = int(page.js("document.querySelector('.plate.off').dataset.index"))
    page.click(".plate", off)
    check("a click puts the layer back", settled(page, "0-11"), order_of(page))
    check("the intact order changes nothing", page.wait("document.querySelectorAll('.readouts strong')[2].textContent === '0.000'"))
    page.click(".plate", 3)
    check("a click takes a layer out", settled(page, "0-2,4-11"), order_of(page))
    page.js("history.back()")
    check("the browser's Back undoes", settled(page, "0-11"), order_of(page))

    page.requests.clear()
    a, b = page.middle(".plate", 2), page.middle(".plate", 5)
    held = page.drag((a[0], a[1]), (b[0] + b[2] * 0.3, b[1]), steps=14, held=lambda: order_of(page))
    check("a drag moves a layer", settled(page, "0-1,3-5,2,6-11"), order_of(page))
    check("and shows it before it is dropped", held == "0-1,3-5,2,6-11", held)
    check("losses are asked for during the drag", sum(u.endswith("api/run") for u in page.requests) >= 2, page.requests)
    check("the moved layer is marked", page.js("document.querySelector('.plate[data-layer=\"2\"]').classList.contains('moved')"))

    page.js("document.querySelector('.plate[data-layer=\"2\"]').focus()")
    page.key("ArrowLeft", shift=True)
    check("Shift and an arrow move a layer", settled(page, "0-1,3-4,2,5-11"), order_of(page))
    check("the focus goes with it", page.js("document.activeElement.dataset.layer") == "2")
    check("focus is visible", page.js("getComputedStyle(document.activeElement).outlineStyle") == "solid")
    page.key("a")
    check("A leaves the attention alone", settled(page, "0-1,3-4,2.attn,5-11"), order_of(page))
    page.key("w")
    page.key("r")
    check("R repeats", settled(page, "0-1,3-4,2x2,5-11"), order_of(page))
    page.key("Delete")
    check("Delete takes one out", settled(page, "0-1,3-4,2,5-11"), order_of(page))
    page.key("m")
    check("M leaves the MLP alone", settled(page, "0-1,3-4,2.mlp,5-11"), order_of(page))
    page.key("ArrowRight")
    check("an arrow walks", page.js("document.activeElement.dataset.layer") == "5")
    page.key("p")
    check("P sets a layer beside the next", settled(page, "0-1,3-4,2.mlp,5+6,7-11"), order_of(page))
    page.key(" ")
    check("space turns off", settled(page, "0-1,3-4,2.mlp,7-11"), order_of(page))
    page.click("[data-preset=reverse]")
    check("reverse", settled(page, "11-0"), order_of(page))
    page.click("[data-preset=random]")
    check("random is a permutation", page.wait("document.querySelectorAll('.plate:not(.off)').length === 12 && document.querySelector('.spec').textContent !== '11-0'"))
    page.click("[data-preset=intact]")
    check("reset", settled(page, "0-11"))

    page.click(".tokens .tok", 4)
    piece = answer["tokens"][4]["piece"].strip()
    check("a token shows what the model would have said", page.wait(f"document.querySelector('.candidates mark').textContent === {json.dumps(piece)}"))
    check("ten candidates of both models", page.js("[...document.querySelectorAll('.candidates ol')].every(o => o.children.length >= 10)"))
    page.click("[data-value=word]")
    check("words", page.wait("[...document.querySelectorAll('.tokens .tok .piece')].some(e => e.textContent === 'change.')") or page.js("document.querySelector('[data-value=word]').getAttribute('aria-pressed') === 'true'"))
    page.click("[data-value=nll]")
    check("what is chosen is in the address", page.wait("location.hash.includes('tok=4') && location.hash.includes('by=nll') && location.hash.includes('unit=word')"))

    def say(text):
        page.js(f"(() => {{ const e = document.querySelector('#sentence'); e.value = {json.dumps(text)}; e.dispatchEvent(new Event('input')); }})()")
    say("日本語の文を入れるとどうなるでしょうか。")
    check("a text in another language is remarked on", page.wait("/language/.test(document.querySelector('.notes').textContent)"))
    say("word " * 300)
    check("a text that is too long for the program is refused in words", page.wait("document.querySelector('.complaint, .notes .notice')"))
    say("A captain & his 100 % ship #1 + more?")
    check("any text goes through the address", page.wait("document.querySelector('.tok .piece').textContent === 'A' && !document.querySelector('.complaint')"), page.js("document.body.innerText.slice(0, 300)"))


def test_links(page, server):
    order = "0-3,5,4,6.attn,7x2,8+9,10-11"
    page.go(f"{server.url}#/lab?model={MODEL}&text=The+ship+was+large+.&order={order}&tok=2&by=kl")
    check("a link restores the order", page.wait(f"document.querySelector('.spec').textContent === {json.dumps(order)} && document.querySelectorAll('.tok').length > 4"), order_of(page))
    check("and the text, the measure and the choice", page.js("document.querySelector('#sentence').value === 'The ship was large .' && document.querySelector('[data-value=kl]').getAttribute('aria-pressed') === 'true' && document.querySelectorAll('.tokens .tok')[2].getAttribute('aria-selected') === 'true'"))
    link = page.js("location.href")
    before = page.js("[...document.querySelectorAll('.tokens .val')].map(e => e.textContent).join()")
    page.go(link)
    page.wait("document.querySelectorAll('.tok').length > 4")
    check("the same numbers from the same link", page.js("[...document.querySelectorAll('.tokens .val')].map(e => e.textContent).join()") == before)
    page.go(f"{server.url}#/lab?order=0-99")
    check("an order that cannot be is told", page.wait("document.querySelector('.complaint') && document.querySelector('.complaint').textContent.includes('0-99')"))
    page.go(f"{server.url}#/lab?model=another/model&text=The+ship&order=0-11")
    check("a link of another model says so", page.wait("document.querySelector('.notice') && document.querySelector('.notice').textContent.includes('another/model')"))
    page.go(f"{server.url}#/lab?text=The+ship+was+large+.&order=0-3,shuffle(4-11,seed=1)")
    check("shuffle becomes plates", page.wait("document.querySelectorAll('.plate:not(.off)').length === 12 && !/shuffle/.test(document.querySelector('.spec').textContent)"), order_of(page))


def test_inside(page, server):
    page.go(f"{server.url}#/inside?text=The+captain+of+the+ship+was+born+in+London+.&order=0-11&part=lens&tok=3")
    check("the lens draws", page.wait("document.querySelector('[data-card=lens] svg')"))
    page.js("document.querySelector('#point').focus()")
    at = page.js("Number(document.querySelector('#point').value)")
    page.key("ArrowLeft")
    check("scrubbing goes back a layer", page.wait(f"Number(document.querySelector('#point').value) === {at - 1} && location.hash.includes('point={at - 1}')"))
    x, y, w, _ = page.middle("#point")
    page.drag((x + w / 2 - 10, y), (x - w / 2 + 10, y), steps=12)
    check("and by dragging to the embedding", page.wait("document.querySelector('#point').value === '0' && /embedding/.test(document.querySelector('.where').textContent)"), page.js("document.querySelector('.where').textContent"))
    lens = server.post("lens", {"text": "The captain of the ship was born in London .", "order": "0-11", "position": 3, "top": 1})
    check("the candidate is the API's", page.js("document.querySelector('.says mark').textContent").lstrip("…") == lens["pieces"][str(lens["ids"][0][0][0])].strip())
    check("it says that the final norm is applied", page.js("/final norm/.test(document.querySelector('.scrub').textContent)"))
    page.shot(f"{BUILD}/page_lens.png", whole=True)

    page.go(f"{server.url}#/inside?part=attention&step=2&text=The+captain+of+the+ship+was+born+in+London+.&order=0-11")
    check("every head is there", page.wait("document.querySelectorAll('.headbox').length === 6"))
    page.click(".headbox", 3)
    check("a head is chosen", page.wait("location.hash.includes('head=3')"))
    page.js("document.querySelector('canvas.field').focus()")
    page.key("ArrowUp")
    page.key("ArrowLeft")
    row = page.js("new URLSearchParams(location.hash.split('?')[1]).get('tok')")
    check("arrow keys walk in the map", page.wait("document.querySelector('.readout').textContent.length > 5") and row is not None)
    pattern = server.post("attention", {"text": "The captain of the ship was born in London .", "order": "0-11", "step": 2, "head": 3})
    import base64
    values = struct.unpack(f"<{len(pattern['tokens']) ** 2}f", base64.b64decode(pattern["pattern"]["base64"]))
    n = len(pattern["tokens"])
    q, k = int(row), int(page.js("new URLSearchParams(location.hash.split('?')[1]).get('key')"))
    told = page.js("document.querySelector('.readout').textContent").split(":")[-1].strip().replace("−", "-")
    check("the weight read is the API's", abs(float(told) - values[q * n + k]) <= 1e-3 * abs(values[q * n + k]) + 1e-9, told)

    page.go(f"{server.url}#/inside?part=arithmetic&op=q&step=3&coord=5&at=4&text=The+captain+of+the+ship+was+born+in+London+.&order=0-11")
    check("the arithmetic draws", page.wait("document.querySelectorAll('.terms tbody tr').length > 5"))
    page.js("[...document.querySelectorAll('.arith button')].find(b => /^all/.test(b.textContent)).click()")
    page.wait(f"document.querySelectorAll('.terms tbody tr').length === {WIDTH}")
    table = page.js("[...document.querySelectorAll('.terms tbody tr')].map(tr => [...tr.querySelectorAll('td.n')].map(td => td.textContent))")
    numbers = [[float(c.replace("−", "-").replace(",", "")) for c in row] for row in table]
    value = float(page.js("document.querySelector('.equals strong').textContent").replace("−", "-"))
    # Five figures are shown of x and w: each product is off by 1e-4 of itself at most.
    total, slack = sum(r[0] * r[1] for r in numbers), sum(abs(r[0] * r[1]) for r in numbers) * 1e-4 + 1e-6
    check("the products shown add up to the value shown", len(numbers) == WIDTH and abs(total - value) <= slack, f"{total} {value}")
    page.click(".terms button.number", 0)
    check("a number leads to the operation that made it", page.wait("location.hash.includes('op=attn_norm') && document.querySelector('.scalars')"), page.js("location.hash"))
    page.js("history.back()")
    check("and Back returns", page.wait("location.hash.includes('op=q&') && document.querySelectorAll('.terms tbody tr').length > 5"), page.js("location.hash"))
    for op in page.js("[...document.querySelectorAll('.chain button')].map(b => b.dataset.op)"):
        page.click(f".chain [data-op={op}]")
        check(f"arithmetic of {op}", page.wait(f"location.hash.includes('op={op}') && document.querySelector('.arith h3') && document.querySelector('[data-op={op}]').getAttribute('aria-pressed') === 'true' && document.querySelector('.agrees')"), page.js("document.querySelector('#view').innerText.slice(0, 200)"))


def test_experts(page):
    mixture = Server("--model_name", "tests/data/models/mixtral")
    try:
        page.go(f"{mixture.url}?lang=en#/inside?part=arithmetic&op=moe&step=1&coord=3&at=4&order=0-2")
        check("the sum over the chosen experts draws", page.wait("document.querySelectorAll('.terms tbody tr').length > 3 && document.querySelector('.agrees')"), page.js("document.body.innerText.slice(0, 300)"))
        page.js("[...document.querySelectorAll('.arith button')].find(b => /^all/.test(b.textContent)).click()")
        page.wait("document.querySelectorAll('.terms tbody tr').length === 4")
        table = [[float(c.replace("−", "-")) for c in row if c != "–"] for row in page.js("[...document.querySelectorAll('.terms tbody tr')].map(tr => [...tr.querySelectorAll('td.n')].map(td => td.textContent))")]
        chosen = [r for r in table if r[0]]
        value = float(page.js("document.querySelector('.equals strong').textContent").replace("−", "-"))
        check("two of four experts, their shares sum to 1", len(chosen) == 2 and abs(chosen[0][0] + chosen[1][0] - 1) < 1e-4, table)
        check("share times output adds up to the value", abs(sum(r[0] * r[1] for r in chosen) - value) <= 1e-4 * sum(abs(r[0] * r[1]) for r in chosen) + 1e-7, f"{table} {value}")
        page.click(".terms tbody tr td:nth-child(4) button.number", 0)
        check("an expert's output leads to its dot product", page.wait("location.hash.includes('op=expert_down') && document.querySelector('.arith h3').textContent === 'What one expert says' && document.querySelectorAll('.terms tbody tr').length > 5"), page.js("location.hash"))
        expert = page.js("new URLSearchParams(location.hash.split('?')[1]).get('expert')")
        got = mixture.post("arithmetic", {"ids": [1, 2, 3, 5, 8, 13, 21, 34, 55], "order": "0-2", "op": "expert_down", "step": 1, "position": 4, "coordinate": 3, "expert": int(expert)})
        shown = page.js("document.querySelector('.equals strong').textContent").replace("−", "-")
        check("with the API's number", abs(float(shown) - got["value"]) <= 1e-5 * abs(got["value"]), f"{shown} {got['value']}")
        page.click(".terms button.number", 0)
        check("and on to its hidden unit, of the same expert", page.wait(f"location.hash.includes('op=expert_hidden') && location.hash.includes('expert={expert}') && document.querySelectorAll('.scalars button.number').length === 2"), page.js("location.hash"))
        page.click(".scalars button.number", 0)
        check("and to its gate", page.wait("location.hash.includes('op=expert_gate') && document.querySelectorAll('.terms tbody tr').length > 5"), page.js("location.hash"))
        for op in ("share", "router", "mlp_add"):
            page.click(f".chain [data-op={op}]")
            check(f"arithmetic of {op}", page.wait(f"document.querySelector('[data-op={op}]').getAttribute('aria-pressed') === 'true' && document.querySelector('.arith h3').textContent !== 'op.{op}' && document.querySelector('.agrees')"))
        page.shot(f"{BUILD}/page_experts.png", whole=True)
    finally:
        mixture.close()
    shared = Server("--model_name", "tests/data/families/qwen2-moe")
    try:
        page.go(f"{shared.url}?lang=en#/inside?part=arithmetic&op=mlp_add&step=1&coord=3&at=4&order=0-2")
        check("what the MLP adds is a link", page.wait("document.querySelectorAll('.scalars button.number').length === 2"), page.js("document.querySelector('.arith').innerText"))
        page.click(".scalars button.number", 1)
        check("to the mixture", page.wait("location.hash.includes('op=mixture') && document.querySelector('.scalars button.number') && document.querySelector('.agrees')"), page.js("location.hash"))
        scalars = dict(page.js("[...document.querySelectorAll('.scalars div')].map(d => [d.querySelector('dt').textContent, Number(d.querySelector('dd').textContent.replace('−', '-'))])"))
        value = float(page.js("document.querySelector('.equals strong').textContent").replace("−", "-"))
        # Five figures are shown of each.
        slack = 1e-4 * (abs(scalars["moe"]) + abs(scalars["shared_down"]))
        check("chosen experts and the shared one's share add up", 0 < scalars["share"] < 1 and abs(scalars["moe"] + scalars["share"] * scalars["shared_down"] - value) <= slack, f"{scalars} {value}")
        page.shot(f"{BUILD}/page_shared.png", whole=True)
        page.click(".scalars button.number", 1)
        check("its share's score is a dot product", page.wait("location.hash.includes('op=shared_score') && document.querySelectorAll('.terms tbody tr').length > 5"), page.js("location.hash"))
        for op in ("shared_down", "shared_gate", "shared_up", "shared_hidden"):
            page.click(f".chain [data-op={op}]")
            check(f"arithmetic of {op}", page.wait(f"location.hash.includes('op={op}') && document.querySelector('.arith h3').textContent !== 'op.{op}' && /shared/.test(document.querySelector('.arith h3').textContent) && document.querySelector('.agrees')"))
        check("a hidden unit is made of two others", page.wait("document.querySelectorAll('.scalars button.number').length === 2"))
        page.click(".scalars button.number", 0)
        check("of which one is its gate", page.wait("location.hash.includes('op=shared_gate') && document.querySelectorAll('.terms tbody tr').length > 5"), page.js("location.hash"))
    finally:
        shared.close()


def test_orders(page, server):
    page.go(f"{server.url}#/orders")
    check("study A draws", page.wait(DRAWN["#/orders"]))
    page.click(".pick input", 0)
    page.wait("document.querySelectorAll('.pick input:checked').length > 1 || true")
    check("two results are laid over each other", page.wait("document.querySelectorAll('.pick input:checked').length === 2 && document.querySelectorAll('[data-card=orders_curves] svg path').length >= 2"))
    # Until both are loaded the cards are those of the first.
    check("their bands are drawn", page.wait("document.querySelectorAll('[data-card=orders_curves] path[fill-opacity]').length === 2 && document.querySelector('[data-card=orders_tags] svg') && document.querySelector('[data-card=orders_row] .tok')"), page.js("document.querySelectorAll('[data-card=orders_curves] path[fill-opacity]').length"))
    svg = page.middle("[data-card=orders_tags] svg")
    page.mouse("mousePressed", svg[0], svg[1], buttons=1)
    page.mouse("mouseReleased", svg[0], svg[1])
    check("a cell of the tags chooses its order", page.wait("location.hash.includes('under=')"))
    check("and tells its value with interval", page.wait("/removal_\\d+: [+−]?[\\d.]+ \\[.*n \\d+/.test(document.querySelector('[data-card=orders_tags] .told').textContent)"), page.js("document.querySelector('[data-card=orders_tags] .told').textContent"))
    before = page.js("[...document.querySelectorAll('[data-card=orders_row] .val')].map(e => e.textContent).join()")
    page.js("document.querySelector('#under').focus()")
    page.key("Home")
    page.key("ArrowRight")
    check("scrubbing over the orders recolours the row", page.wait(f"[...document.querySelectorAll('[data-card=orders_row] .val')].map(e => e.textContent).join() !== {json.dumps(before)}"))
    result = page.js("fetch('api/results.json').then(r => r.json()).then(r => r.results.find(x => x.has_pos).id)")
    shown = page.js("[document.querySelector('#under').value, document.querySelector('.windows').value, document.querySelector('.where').textContent]")
    tokens = json.load(urllib.request.urlopen(f"{server.url}api/results/{result}/tokens/{shown[1]}.json"))
    o = tokens["orders"].index(shown[2])
    deltas = [a - b for a, b in zip(tokens["nll"][o], tokens["nll"][0])]
    told = [float(v.replace("−", "-")) for v in page.js("[...document.querySelectorAll('[data-card=orders_row] .val')].map(e => e.textContent)") if v != "·"]
    check("the row's numbers are the ledger's", len(told) == len(deltas) and all(abs(a - b) <= 0.0051 for a, b in zip(told, deltas)), f"{told[:5]} {deltas[:5]}")
    page.js("(() => { const e = document.querySelector('.rowhead input'); e.value = 'theatre'; e.dispatchEvent(new Event('input')); })()")
    check("rows can be searched", page.js("[...document.querySelectorAll('.windows option')].length") < 40)
    page.js("(() => { const e = document.querySelector('[data-card=orders_curves] select'); e.value = 'kl'; e.dispatchEvent(new Event('change')); })()")
    check("another measure", page.wait("location.hash.includes('metric=kl')"))
    page.shot(f"{BUILD}/page_orders.png", whole=True)


def test_pairs(page, server, n_pairs):
    page.go(f"{server.url}#/pairs?pa=The+captain+of+the+ship+was+born+.&pb=The+captain+of+the+ship+was+not+born+.")
    check("what is no pair is told why", page.wait("document.querySelector('.verdict .complaint')"))
    page.js("(() => { const e = document.querySelector('#pair-b'); e.value = 'The captain of the team was born .'; e.dispatchEvent(new Event('input')); })()")
    check("a pair by hand is checked and analysed", page.wait("document.querySelector('.verdict .good') && document.querySelector('[data-card=pair_map] canvas')"))
    check("the changed token is marked in both", page.js("document.querySelectorAll('.ptok.differs').length") == 2)
    check("before the edit the difference is 0", page.js("(l => l.length === 13 && l.every(e => /: 0$/.test(e.textContent)))([...document.querySelectorAll('[data-card=pair_tokens] rect title')].filter(e => /captain/.test(e.textContent)))"))
    for _ in range(3):
        page.click("[data-card=pair_map] .fieldbar button", 0)
    check("the map zooms and the address knows", page.wait("location.hash.includes('zoom=')"))
    zoom = page.js("new URLSearchParams(location.hash.split('?')[1]).get('zoom')")
    x, y, w, h = page.middle("canvas.field")
    page.drag((x, y), (x - 120, y - 20))
    check("and pans", page.wait(f"new URLSearchParams(location.hash.split('?')[1]).get('zoom') !== {json.dumps(zoom)}"))
    page.mouse("mousePressed", x, y, buttons=1)
    page.mouse("mouseReleased", x, y)
    check("a cell can be read", page.wait("/: /.test(document.querySelector('[data-card=pair_map] .readout').textContent) && location.hash.includes('dim=')"))
    zoomed = page.js("location.href")
    page.go(zoomed)
    page.wait("document.querySelector('[data-card=pair_map] canvas')")
    check("a link restores the zoom", page.js("location.href") == zoomed)
    page.shot(f"{BUILD}/page_pair.png")
    page.click("[data-ablate=largest]")
    check("dimensions are ablated live", page.wait("document.querySelector('.ablated').textContent.includes('→') && document.querySelectorAll('.chips button').length === 10"), page.js("document.querySelector('.ablated').textContent"))
    pair = page.js("[document.querySelector('#pair-a').value, document.querySelector('#pair-b').value, new URLSearchParams(location.hash.split('?')[1]).get('dims')]")
    got = server.post("ablate", {"a": pair[0], "b": pair[1], "mode": "zero", "dims": [[int(v) for v in d.split(".")] for d in pair[2].split(";")]})
    area = f"{got['pair']['area_ablated']:.3g}"
    check("with the API's numbers", area in page.js("document.querySelector('.ablated').textContent"), area)
    for mode in ("mean", "swap"):
        page.click(f"[data-value={mode}]")
        check(f"ablation by {mode}", page.wait(f"location.hash.includes('mode={mode}') && !document.querySelector('[data-card=ablation] .complaint') && document.querySelector('.ablated').textContent.includes('→')"))

    page.go(f"{server.url}#/pairs?pa=The+captain+of+the+ship+was+born+.&pb=The+captain+of+the+team+was+born+.&order=3,0-2,4-11&through=strip")
    check("a link opens a pair under another order", page.wait("document.querySelector('[data-card=pair_kl] svg') && document.querySelector('.spec').textContent === '3,0-2,4-11' && document.querySelector('[data-value=strip]').getAttribute('aria-pressed') === 'true'"))
    got = server.post("pair", {"a": "The captain of the ship was born .", "b": "The captain of the team was born .", "order": "3,0-2,4-11"})
    kl = [float(x) for x in page.js("[...document.querySelectorAll('[data-card=pair_kl] svg title')].map(e => e.textContent.split(', ')[1].replace('−', '-'))")]
    check("with that order's numbers", len(kl) == 13 and all(abs(a - b) <= 2e-3 * abs(b) + 1e-12 for a, b in zip(kl, got["kl"])), f"{kl} {got['kl']}")
    page.click("[data-ablate=largest]")
    page.wait("document.querySelector('.ablated').textContent.includes('→')")
    ablated = server.post("ablate", {"a": "The captain of the ship was born .", "b": "The captain of the team was born .", "order": "3,0-2,4-11", "mode": "zero", "dims": [[int(v) for v in d.split(".")] for d in page.js("new URLSearchParams(location.hash.split('?')[1]).get('dims')").split(";")]})
    check("and its ablations", f"{ablated['pair']['area_ablated']:.3g}" in page.js("document.querySelector('.ablated').textContent"), page.js("document.querySelector('.ablated').textContent"))
    page.click("[data-value=intact]")
    check("and back to the intact model", page.wait("document.querySelector('.spec').textContent === '0-11' && !location.hash.includes('through=')"))

    page.click(".tabs [data-value=study]")
    check("the results draw", page.wait(DRAWN["#/pairs?bpart=study"]))
    check("all pairs are listed", page.js(f"document.querySelector('[data-card=pairs]').textContent.includes('{n_pairs} of {n_pairs}')"))
    page.js("(() => { const e = [...document.querySelectorAll('[data-card=pairs] select')][0]; e.value = 'tense'; e.dispatchEvent(new Event('change')); })()")
    check("filters", page.wait("[...document.querySelectorAll('[data-card=pairs] tbody tr')].every(r => r.children[1].textContent === 'tense')"))
    page.js("(() => { const e = document.querySelector('#view .toolbar select[aria-label=Category]'); e.value = 'tense'; e.dispatchEvent(new Event('change')); })()")
    check("another category, with what may be said of it", page.wait("location.hash.includes('cat=tense') && /^tense: 25 pairs/.test(document.querySelector('#view').querySelector('.good, .notice').textContent)"), page.js("document.querySelector('#view').innerText.slice(0, 400)"))
    check("errors against meanings: too few pairs for it, and that is said", page.wait("/no error and meaning/.test(document.querySelector('[data-card=diff_contrast]').textContent)"))
    with urllib.request.urlopen(f"{server.url}api/results/diff/small/diff.json") as f:
        diff = json.load(f)
    best = next(p for p in next(c for c in diff["categories"] if c["name"] == "tense")["positions"] if p["name"] == "last")["ranked"][0]
    place = "emb" if best["layer"] == 0 else str(best["layer"] - 1)
    texts = "[...document.querySelectorAll('[data-card=diff_ranking] svg text')].map(e => e.textContent)"
    check("the smallest ratio is the file's", page.wait(f"{texts}[0] === '{place}·{best['dim']}' && Math.abs(Number({texts}[1]) - {best['ratio']}) <= 0.005 * {best['ratio']}"),
          f"{page.js(texts)[:2]} {best}")
    tense = next(p for p in next(c for c in diff["categories"] if c["name"] == "tense")["positions"] if p["name"] == "last")
    told = page.js("Object.fromEntries([...document.querySelectorAll('[data-card=diff_checks] [data-check]')].map(e => [e.dataset.check, e.querySelector('.figures').textContent]))")
    mean_w = [sum(w) / len(w) for w in ([v for v in tense[k] if v is not None] for k in ("kendall_w", "kendall_w_control"))]
    check("what the claims stand up to is told with the file's numbers", {"claims", "rotation", "crossfit", "kendall", "equivalence", "ablation"} <= set(told)
          and f"{tense['rotation'][0]['count']:,.0f} in" in told["rotation"] and f"{tense['crossfit']['scored_ratio']:.3f} on" in told["crossfit"] and f"W {mean_w[0]:.2f}, control {mean_w[1]:.2f}" in told["kendall"], told)
    check("a row for each category", page.js("document.querySelectorAll('.summary tbody tr').length") == len(diff["categories"]))
    page.shot(f"{BUILD}/page_study.png", whole=True)
    page.click("[data-card=pairs] [data-pair]", 1)
    check("a pair of the table opens live", page.wait("location.hash.includes('bpart=pair') && document.querySelector('.verdict .good')"), page.js("document.querySelector('#view').innerText.slice(0, 200)"))


def wait_file(folder, name, seconds=10):
    path, until = os.path.join(folder, name), time.time() + seconds
    while time.time() < until:
        if os.path.exists(path) and os.path.getsize(path):
            return path
        time.sleep(0.05)
    return None


def export(page, browser, card, kind):
    """The file of a card; a click that met a card just being drawn anew is made again."""
    for _ in range(3):
        page.click(f"[data-card={card}] [data-export={kind}]")
        path = wait_file(browser.downloads, f"strata_{card}.{kind}", 5)
        if path:
            return path
    return None


def test_exports(page, server, browser):
    page.go(f"{server.url}#/lab?text=The+captain,+%22quoted%22+.&order=0-4,6-11")
    page.wait("document.querySelectorAll('.tok').length > 3")
    n = page.js("document.querySelectorAll('.tokens .tok').length") - 1
    cards = {"lab": "csv json svg png", "lab_tokens": "svg png"}
    for card, kinds in cards.items():
        for kind in kinds.split():
            path = export(page, browser, card, kind)
            if not check(f"{card} as {kind}", path):
                continue
            with open(path, "rb") as f:
                data = f.read()
            if kind == "csv":
                rows = list(csv.DictReader(data.decode().splitlines()))
                got = server.post("run", {"text": 'The captain, "quoted" .', "order": "0-4,6-11"})
                check("a row for each token with the API's losses", len(rows) == n == len(got["tokens"]) and all(r["nll"] == "" if v is None else abs(float(r["nll"]) - v) < 1e-9 for r, v in zip(rows, got["variant"]["nll"])))
                check("pieces come back as they were", [r["piece"] for r in rows] == [x["piece"] for x in got["tokens"]])
            elif kind == "json":
                check("JSON with the address", json.loads(data)["address"] == page.js("location.href") and len(json.loads(data)["rows"]) == n)
            elif kind == "svg":
                root = xml.etree.ElementTree.fromstring(data)
                check("SVG is whole", root.tag.endswith("svg") and len(root) > 5)
            else:
                width, height = struct.unpack(">II", data[16:24])
                check("PNG is one, twice the size", data[:8] == b"\x89PNG\r\n\x1a\n" and width >= 1200 and height > 200, (width, height))
    for view in ("#/inside?part=lens", "#/inside?part=stream", "#/inside?part=attention", "#/orders", "#/pairs?bpart=pair", "#/pairs?bpart=study"):
        page.go(server.url + view)
        page.wait(DRAWN.get(view, "document.querySelector('.card svg, .card canvas')"))
        time.sleep(0.2)
        for i, card in enumerate(page.js("[...document.querySelectorAll('.card')].filter(c => c.querySelector('.exports') && !c.querySelector('.exports').hidden && c.offsetParent).map(c => c.dataset.card)")):
            there = page.js(f"[...document.querySelectorAll('[data-card={card}] [data-export]')].map(b => b.dataset.export)")
            check(f"{card} can be exported", {"csv", "json"} <= set(there), there)
            for kind in there if i == 0 else [k for k in there if k in ("csv", "svg")]:
                check(f"{card} as {kind}", export(page, browser, card, kind), sorted(os.listdir(browser.downloads))[-8:])


def main():
    tmp = sys.argv[1]
    output = f"{tmp}/results"
    for experiment in ("removal", "exchange"):
        subprocess.run([STRATA, "sweep", "--model_name", MODEL, "--dataset_path", TEXT, "--max_samples", "90", "--context", "40", "--experiment", experiment, "--output_dir", output, "--quiet"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([STRATA, "pos", "--model_name", f"{output}/removal/model_wikitext-2-excerpt_n90", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    pairs = f"{tmp}/pairs.jsonl"
    subprocess.run([STRATA, "pairs", "--model_name", MODEL, "--categories", "subject,tense", "--per_category", "25", "--output", pairs, "--quiet"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([STRATA, "diff", "--model_name", MODEL, "--pairs", pairs, "--output_dir", f"{output}/diff/small", "--sigma_windows", "32", "--lens_pairs", "4", "--ablation_pairs", "2", "--floor_pairs", "2", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    with open(pairs) as f:
        n_pairs = sum(1 for _ in f)
    server = Server("--model_name", MODEL, "--output_dir", output)
    browser = Browser(find_browser())
    try:
        page = Page(browser)
        for name, test in (("lab", lambda: test_lab(page, server)), ("links", lambda: test_links(page, server)), ("inside", lambda: test_inside(page, server)), ("experts", lambda: test_experts(page)), ("orders", lambda: test_orders(page, server)),
                           ("pairs", lambda: test_pairs(page, server, n_pairs)), ("tours", lambda: test_tours(page, server)), ("exports", lambda: test_exports(page, server, browser)), ("looks", lambda: test_looks(page, server)), ("canvases", lambda: test_canvases(page, server)), ("static", lambda: test_static(page, output, f"{tmp}/site"))):
            if len(sys.argv) > 2 and name not in sys.argv[2:]:
                continue
            began = time.time()
            page.size(1280, 720)
            try:
                test()
            except Exception as e:  # a test that breaks is one failure; the others still run
                check(f"{name} runs", False, f"{e!r} at " + " < ".join(f"{f.name}:{f.lineno}" for f in reversed(traceback.extract_tb(e.__traceback__))))
            # A request given up for a newer one is answered 409, and the console lists what was refused on purpose: neither is an error.
            wrong = [c for c in page.complaints if not re.search(r"status of (409|400|413)", c)]
            check(f"{name}: nothing wrong in the console", not wrong, wrong)
            page.complaints.clear()
            if os.environ.get("VERBOSE"):
                print(f"{name}: {time.time() - began:.1f} s", flush=True)
    finally:
        browser.close()
        server.close()
    print("{passed} passed, {failed} failed".format(**counts))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
