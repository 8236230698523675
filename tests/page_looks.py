"""page_looks.py: how the page looks: both languages, projector, a narrow screen, contrast, the tours, the static export. Parts of test_page_browser.py,
run by tests/test_page_looks.sh."""
import functools
import http.server
import re
import subprocess
import threading

from page_tools import BUILD, DRAWN, STRATA, VIEWS, check


def test_tours(page, server):
    page.go(f"{server.url}#/tours")
    check("five tours", page.wait("document.querySelectorAll('.tour').length === 5"))
    for name in page.js("[...document.querySelectorAll('.tour')].map(e => e.dataset.tour)"):
        page.go(f"{server.url}#/tours?tour={name}&card=0")
        n = 0
        while True:
            if not check(f"tour {name}, card {n} opens", page.wait(f"location.hash.includes('card={n}') && document.querySelector('.tourcard h2')")):
                break
            if page.js("Boolean(document.querySelector('.option'))"):
                check(f"tour {name}, card {n}: no way on before a prediction", page.js("document.querySelector('[data-tool=next]').disabled && !document.querySelector('.verdictline')"))
                page.click(".option", 1)
                check(f"tour {name}, card {n}: reveals", page.wait("document.querySelector('.verdictline') && document.querySelector('.option.right')", 40), page.js("document.querySelector('.tourcard').innerText.slice(-200)"))
                check(f"tour {name}, card {n}: live numbers are filled in", not page.js("/[{}]|NaN|undefined/.test(document.querySelector('.tourcard').innerText)"), page.js("document.querySelector('.reveal').innerText"))
            page.wait("document.querySelector('.reveal').children.length > 0 && !/^Computing/.test(document.querySelector('.reveal').textContent) && !document.querySelector('[data-tool=next]').disabled", 40)
            check(f"tour {name}, card {n}: no complaint", not page.js("Boolean(document.querySelector('.complaint'))"), page.js("document.querySelector('.tourcard').innerText.slice(-200)"))
            n += 1
            last = page.js("document.querySelector('[data-tool=next]').textContent") == "Finish"
            page.click("[data-tool=next]")
            if last:
                check(f"tour {name} ends", page.wait("document.querySelectorAll('.tour').length === 5"))
                break


def test_looks(page, server):
    """Everything readable: both languages, projector, a narrow screen, contrast, no key of a text left over."""
    keys = r"/\b(nav|shell|lab|strip|cand|inside|lens|stream|attn|router|arith|op|orders|metric|tags|tagmetric|row|check|pairs?|place|curve|ablate|study|scope|stat|table|tours?|measure|note|field|export|unit)\.[a-z]\w+/"
    text_nodes = """(() => { const out = []; const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        for (let n = walk.nextNode(); n; n = walk.nextNode()) { const e = n.parentElement; if (!n.data.trim() || ['TITLE', 'title', 'OPTION', 'SCRIPT', 'NOSCRIPT'].includes(e.tagName) || e.closest('.unseen, [hidden], noscript, title')) continue;
        const r = document.createRange(); r.selectNode(n); const b = r.getBoundingClientRect(); if (b.width && b.height) out.push([e, n.data.trim()]); } return out; })()"""
    contrast = """(() => { const lum = c => { const [r, g, b] = c.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        const rgb = s => s.match(/[\\d.]+/g).map(Number); const bad = [];
        for (const [e, text] of NODES) { if (e.closest('svg, :disabled, .plate.off')) continue; let back = null; for (let p = e; p && !back; p = p.parentElement) { const c = rgb(getComputedStyle(p).backgroundColor); if (c.length === 3 || c[3] === 1) back = c; }
        const a = lum(rgb(getComputedStyle(e).color)), b = lum(back || [255, 255, 255]); const k = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); if (k < 4.5) bad.push(text.slice(0, 30) + ' ' + k.toFixed(2)); } return bad; })()""".replace("NODES", text_nodes)
    # Charts (WCAG 2.1: text 4.5, marks 3). What lies under a text is the last filled shape before it that holds its middle; cells of a heat map and
    # bands carry their value in words or lines besides.
    charts = """(() => { const lum = c => { const [r, g, b] = c.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        const rgb = s => s.match(/[\\d.]+/g).slice(0, 3).map(Number), over = (top, a, under) => under.map((v, i) => v + (top[i] - v) * a);
        const ratio = (a, b) => (Math.max(lum(a), lum(b)) + 0.05) / (Math.min(lum(a), lum(b)) + 0.05);
        const drawn = (e, of, under) => { const c = getComputedStyle(e); return c[of] === 'none' || c[of] === 'rgba(0, 0, 0, 0)' ? null : over(rgb(c[of]), Number(c[of + 'Opacity']) * Number(c.opacity), under); };
        const bad = []; let texts = 0, marks = 0;
        for (const svg of document.querySelectorAll('#view svg')) {
            if (!svg.getBoundingClientRect().width) continue;
            let p = svg; while (p && /rgba\\(0, 0, 0, 0\\)/.test(getComputedStyle(p).backgroundColor)) p = p.parentElement;
            const paper = rgb(getComputedStyle(p).backgroundColor), shapes = [];
            for (const e of svg.querySelectorAll('rect, circle, path, text')) {
                const b = e.getBoundingClientRect();
                if (e.tagName === 'text') {
                    const x = b.left + b.width / 2, y = b.top + b.height / 2;
                    let under = paper;
                    for (const [q, r] of shapes) if (r.left <= x && x <= r.right && r.top <= y && y <= r.bottom) under = drawn(q, 'fill', under) || under;
                    const k = ratio(drawn(e, 'fill', under), under); texts++;
                    if (k < 4.5) bad.push(`${e.textContent.slice(0, 20)} ${k.toFixed(2)}`);
                    continue;
                }
                if (e.tagName === 'rect') shapes.push([e, b]);
                if (/cell|band/.test(e.getAttribute('class') || '')) continue;
                const inks = [drawn(e, 'fill', paper), drawn(e, 'stroke', paper)].filter(Boolean).map(c => ratio(c, paper));
                if (!inks.length) continue;
                marks++;
                if (Math.max(...inks) < 3) bad.push(`${e.tagName} ${Math.max(...inks).toFixed(2)} in ${e.closest('[data-card]')?.dataset.card}`);
            }
        }
        return { bad: [...new Set(bad)].slice(0, 8), texts, marks }; })()"""

    def check_charts(view, form):
        got = page.js(charts)
        check(f"{view}, {form}: charts' text 4.5, marks 3", not got["bad"], got["bad"])
        return got["texts"], got["marks"]
    measured = [0, 0]
    small = """NODES.filter(([e]) => parseFloat(getComputedStyle(e).fontSize) * (e.closest('svg') ? e.ownerSVGElement ? e.ownerSVGElement.getBoundingClientRect().width / e.ownerSVGElement.viewBox.baseVal.width : 1 : 1) < 17.99).map(([e, t]) => t.slice(0, 30))""".replace("NODES", text_nodes)
    for view in VIEWS:
        name = re.sub(r"\W+", "_", view).strip("_")
        drawn = DRAWN.get(view, "document.querySelector('.card svg, .card canvas')")
        page.size(1280, 720)
        page.go(f"{server.url}?lang=en{view}")
        for language in ("en", "ja"):
            check(f"{view} draws in {language}", page.wait(f"document.documentElement.lang === '{language}' && {drawn}"), page.js("document.body.innerText.slice(0, 200)"))
            left = page.js(f"(document.body.innerText.match({keys}) || [])[0]")
            check(f"{view} in {language}: every text is there", not left, left)
            if language == "en":
                bad = page.js(contrast)
                check(f"{view}: contrast of 4.5 at least", not bad, bad)
                measured = [a + b for a, b in zip(measured, check_charts(view, "light"))]
            else:
                page.shot(f"{BUILD}/page_ja_{name}.png")
            page.js("document.querySelector('[data-tool=language]').click()")
        page.wait(f"document.documentElement.lang === 'en' && {drawn}")
        page.js("document.querySelector('[data-tool=projector]').click()")
        page.wait(drawn)
        bad = page.js(small)
        check(f"{view} on a projector: 18 px at least", not bad, bad)
        check_charts(view, "projector")
        page.shot(f"{BUILD}/page_projector_{name}.png")
        page.js("document.querySelector('[data-tool=projector]').click()")
        page.size(360, 740)
        page.wait(drawn)
        narrow = page.wait("document.documentElement.scrollWidth <= 360", 3)
        check(f"{view} fits 360 px", narrow, page.js("document.documentElement.scrollWidth"))
        check_charts(view, "narrow")
        page.shot(f"{BUILD}/page_narrow_{name}.png")
    check("some hundred texts and marks of charts were measured", measured[0] > 500 and measured[1] > 300, measured)
    page.size(1280, 720)
    page.go(f"{server.url}?lang=en#/lab")
    page.wait(DRAWN["#/lab"])
    page.click("[data-tool=language]")
    check("the language switches on the page", page.wait("document.documentElement.lang === 'ja' && /層/.test(document.querySelector('nav').textContent) && document.querySelectorAll('.tok').length > 5"))
    page.click("[data-tool=language]")
    page.wait("document.documentElement.lang === 'en'")
    page.click("[data-tool=projector]")
    check("so does the large type", page.wait("document.documentElement.classList.contains('projector') && location.search.includes('projector=1')"))
    page.go(f"{server.url}?projector=1&lang=en#/lab")
    check("?projector=1 opens in large type", page.wait(f"document.documentElement.classList.contains('projector') && {DRAWN['#/lab']}"))
    page.js("document.activeElement.blur()")
    stops = []
    for _ in range(24):
        page.key("Tab")
        stops.append(page.js("document.activeElement.className.split(' ')[0] || document.activeElement.dataset.view || document.activeElement.id || document.activeElement.tagName"))
    check("Tab goes from the skip link over the views to the text and the layers", stops[0] == "skip" and "sentence" in stops and "plate" in stops and stops.index("sentence") < stops.index("plate"), stops)


# Every text that a canvas is given, with its colour and what is painted where its middle will lie, as it is about to be painted.
RECORD_CANVAS = """(() => { const proto = CanvasRenderingContext2D.prototype, was = proto.fillText; window.canvasTexts = [];
    proto.fillText = function (text, x, y, ...more) {
        const size = parseFloat(this.font), m = this.getTransform(), shift = { start: 0.5, center: 0, end: -0.5 }[this.textAlign] * this.measureText(text).width;
        const at = m.transformPoint({ x: x + shift, y: y - 0.35 * size }), under = this.getImageData(Math.floor(at.x), Math.floor(at.y), 1, 1).data;
        window.canvasTexts.push([text, this.fillStyle, [...under]]);
        return was.call(this, text, x, y, ...more);
    }; })()"""
CANVAS_CONTRAST = """(() => { const lum = c => { const [r, g, b] = c.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
    const hex = s => [1, 3, 5].map(i => parseInt(s.slice(i, i + 2), 16)), bad = [], fills = new Set();
    for (const [text, ink, under] of window.canvasTexts) { const a = lum(hex(ink)), b = lum(under.slice(0, 3)), k = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        fills.add(under.join()); if (!(k >= 4.5) || under[3] !== 255) bad.push(`${text}: ${ink} on ${under} is ${k.toFixed(2)}`); }
    return { bad: bad.slice(0, 5), texts: window.canvasTexts.length, fills: fills.size }; })()"""


def test_canvases(page, server):
    """Text on heat maps that are painted: each number on its cell, each name beside them, 4.5 at least, as the charts' other texts."""
    texts = fills = 0
    for view in ("#/inside?part=attention", "#/pairs?bpart=pair", "#/pairs?bpart=study"):
        page.go(f"{server.url}?lang=en{view}")
        page.wait("document.querySelector('canvas.field')")
        page.js(RECORD_CANVAS)
        for _ in range(9):
            page.js("document.querySelector('canvas.field').closest('.fieldbox').querySelector('.fieldbar button').click()")
        got = page.js(CANVAS_CONTRAST)
        check(f"{view}: text on the canvas 4.5 at least", got["texts"] > 20 and not got["bad"], got)
        texts, fills = texts + got["texts"], fills + got["fills"]
    check("texts on cells of many colours were measured", texts > 300 and fills > 100, (texts, fills))


def test_static(page, output, folder):
    done = subprocess.run([STRATA, "serve", "--export", folder, "--output_dir", output], capture_output=True, text=True)
    if not check("strata serve --export", done.returncode == 0, done.stderr):
        return

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass
    site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    threading.Thread(target=site.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{site.server_port}/?lang=en"
    page.go(url)
    check("a static site opens on the explorers", page.wait(DRAWN["#/orders"]), page.js("document.body.innerText.slice(0, 200)"))
    page.go(f"{url}#/pairs")
    check("study B works there", page.wait(DRAWN["#/pairs?bpart=study"]), page.js("document.body.innerText.slice(0, 200)"))
    page.go(f"{url}#/lab")
    check("live views say what they need", page.wait("/strata serve --model_name/.test(document.querySelector('.notice').textContent)"))
    site.shutdown()
