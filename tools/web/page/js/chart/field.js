/* field.js: a matrix of any size as a heat map on a canvas: wheel, pinch or buttons zoom, dragging pans, arrow keys move the picked cell, values
 * stand in the cells once they are large enough. The picture for export is the same window as SVG, its cells as rectangles or, above a
 * few thousand, as an image. */
import { h, s } from '../dom.js';
import { number } from './axis.js';
import { fontSize, ink, soft, sans, paper, worse } from './theme.js';

const VALUE_CELL = 34; /* px: cells at least this wide carry their value */
const RECTANGLES = 4000;

/* m: { rows, cols, values }; scale; rowName(r), colName(c); onpick(r, c, value); marks: [r, c][]; view: { c0, c1, r0, r1 } or null; onview(view).
 * Returns { node, picture(), redraw(width) }. */
export function field({ m, scale, rowName = String, colName = String, rowLabel = '', colLabel = '', height = 380, onpick = null, picked = null, marks = [], view = null, onview = null, square = false, label = '', words = {} }) {
    let window_ = clampView(view || whole());
    let pick = picked, width = 600;
    const canvas = h('canvas', { class: 'field', tabindex: 0, role: 'img', 'aria-label': label });
    const readout = h('output', { class: 'readout' });
    const button = (text, name, fn) => h('button', { type: 'button', class: 'mini', title: name, 'aria-label': name, onclick: fn }, text);
    const bar = h('div', { class: 'fieldbar' },
        button('+', words.zoomIn || '+', () => zoom(0.5)), button('−', words.zoomOut || '−', () => zoom(2)), button('⤢', words.all || 'all', () => setView(whole())), readout);
    const node = h('div', { class: 'fieldbox' }, canvas, bar);
    let box = { left: 60, top: 10, w: 500, h: 300 };

    function whole() { return { c0: 0, c1: m.cols, r0: 0, r1: m.rows }; }
    function clampView(v) {
        const cw = Math.min(m.cols, Math.max(2, v.c1 - v.c0)), rh = Math.min(m.rows, Math.max(2, v.r1 - v.r0));
        const c0 = Math.max(0, Math.min(m.cols - cw, v.c0)), r0 = Math.max(0, Math.min(m.rows - rh, v.r0));
        return { c0, c1: c0 + cw, r0, r1: r0 + rh };
    }
    function setView(v) {
        window_ = clampView(v);
        draw();
        onview?.(window_);
    }
    /* About a point of the canvas, or the picked cell, or the middle. */
    function zoom(factor, at = null) {
        const { c0, c1, r0, r1 } = window_;
        const c = at ? at[0] : pick ? pick[1] + 0.5 : (c0 + c1) / 2, r = at ? at[1] : pick ? pick[0] + 0.5 : (r0 + r1) / 2;
        setView({ c0: c - (c - c0) * factor, c1: c + (c1 - c) * factor, r0: r - (r - r0) * factor, r1: r + (r1 - r) * factor });
    }
    const cellAt = e => {
        const b = canvas.getBoundingClientRect();
        const x = e.clientX - b.left, y = e.clientY - b.top;
        return [window_.c0 + ((x - box.left) / box.w) * (window_.c1 - window_.c0), window_.r0 + ((y - box.top) / box.h) * (window_.r1 - window_.r0)];
    };
    const value = (r, c) => m.values[r * m.cols + c];
    function setPick(r, c) {
        pick = [Math.max(0, Math.min(m.rows - 1, r)), Math.max(0, Math.min(m.cols - 1, c))];
        const [pr, pc] = pick;
        if (pc < window_.c0 || pc + 1 > window_.c1 || pr < window_.r0 || pr + 1 > window_.r1) {
            const dc = window_.c1 - window_.c0, dr = window_.r1 - window_.r0;
            window_ = clampView({ c0: pc + 0.5 - dc / 2, c1: pc + 0.5 + dc / 2, r0: pr + 0.5 - dr / 2, r1: pr + 0.5 + dr / 2 });
        }
        draw();
        onpick?.(pr, pc, value(pr, pc));
    }

    /* What both the canvas and the picture show. */
    function layout(total) {
        const size = fontSize();
        const { r0, r1 } = window_;
        let widest = 0;
        for (let r = Math.floor(r0); r < r1; r += Math.max(1, Math.floor((r1 - r0) / 40))) widest = Math.max(widest, [...rowName(r)].reduce((n, ch) => n + (ch.charCodeAt(0) > 0x2fff ? 1.05 : 0.6), 0));
        const left = Math.min(total * 0.34, widest * size + size * (rowLabel ? 2.4 : 1)), top = size * 0.6, bottom = size * (colLabel ? 3.2 : 1.9);
        const w = total - left - size;
        const inner = square ? Math.min(w, height * 1.4) : height - top - bottom;
        return { left, top, w, h: inner, size, total: inner + top + bottom };
    }
    function* cells() {
        const { c0, c1, r0, r1 } = window_;
        const cw = box.w / (c1 - c0), rh = box.h / (r1 - r0);
        for (let r = Math.floor(r0); r < Math.min(m.rows, Math.ceil(r1)); r++) {
            for (let c = Math.floor(c0); c < Math.min(m.cols, Math.ceil(c1)); c++) {
                yield { r, c, x: box.left + (c - c0) * cw, y: box.top + (r - r0) * rh, cw, rh };
            }
        }
    }
    function labels(vertical) {
        const [a, b, span, room] = vertical ? [window_.r0, window_.r1, box.h, box.size * 1.25] : [window_.c0, window_.c1, box.w, box.size * 3.2];
        const step = Math.max(1, Math.ceil(room / (span / (b - a))));
        const round = [1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000].find(x => x >= step) || step;
        const out = [];
        for (let i = Math.ceil(a / round) * round; i < b; i += round) {
            const at = ((i + 0.5 - a) / (b - a)) * span;
            if (at >= 0 && at <= span) out.push([at, vertical ? rowName(i) : colName(i)]);
        }
        return out;
    }

    /* The cells at one pixel each, scaled up without smoothing: fast for any number of them. */
    function raster() {
        const c0 = Math.floor(window_.c0), r0 = Math.floor(window_.r0), nc = Math.ceil(window_.c1) - c0, nr = Math.ceil(window_.r1) - r0;
        const small = document.createElement('canvas');
        small.width = nc;
        small.height = nr;
        const g = small.getContext('2d'), image = g.createImageData(nc, nr);
        for (let r = 0; r < nr; r++) {
            for (let c = 0; c < nc; c++) {
                const rgb = scale(r0 + r < m.rows && c0 + c < m.cols ? value(r0 + r, c0 + c) : NaN).rgb;
                image.data.set([rgb[0], rgb[1], rgb[2], 255], 4 * (r * nc + c));
            }
        }
        g.putImageData(image, 0, 0);
        return { small, c0, r0, nc, nr };
    }

    function draw() {
        box = layout(width);
        const ratio = devicePixelRatio || 1;
        canvas.width = width * ratio;
        canvas.height = box.total * ratio;
        canvas.style.width = `${width}px`;
        canvas.style.height = `${box.total}px`;
        const g = canvas.getContext('2d');
        g.scale(ratio, ratio);
        g.fillStyle = paper;
        g.fillRect(0, 0, width, box.total);
        g.save();
        g.beginPath();
        g.rect(box.left, box.top, box.w, box.h);
        g.clip();
        const cw = box.w / (window_.c1 - window_.c0), rh = box.h / (window_.r1 - window_.r0);
        const { small, c0, r0, nc, nr } = raster();
        g.imageSmoothingEnabled = false;
        g.drawImage(small, box.left + (c0 - window_.c0) * cw, box.top + (r0 - window_.r0) * rh, nc * cw, nr * rh);
        const valueSize = Math.min(box.size, rh * 0.7);
        if (cw >= VALUE_CELL * (box.size / 12.5) && valueSize > 8) {
            g.font = `${valueSize}px ${sans}`;
            g.textAlign = 'center';
            const inside = (v, from, length) => v > from && v < from + length;
            for (const { r, c, x, y } of cells()) { /* of cells that are cut off, those whose value stands on what is left */
                if (!inside(x + cw / 2, box.left, box.w) || !inside(y + rh / 2, box.top, box.h)) continue;
                g.fillStyle = scale(value(r, c)).text;
                g.fillText(number(value(r, c), 2), x + cw / 2, y + rh / 2 + valueSize * 0.35);
            }
        }
        const outline = (r, c, colour, thick) => {
            g.strokeStyle = colour;
            g.lineWidth = thick;
            g.strokeRect(box.left + (c - window_.c0) * cw - 0.5, box.top + (r - window_.r0) * rh - 0.5, Math.max(3, cw), Math.max(3, rh));
        };
        for (const [r, c] of marks) outline(r, c, ink, 1.5);
        if (pick) outline(pick[0], pick[1], worse, 2.5);
        g.restore();
        g.font = `${box.size}px ${sans}`;
        g.fillStyle = soft;
        g.textAlign = 'end';
        for (const [at, text] of labels(true)) g.fillText(text, box.left - box.size * 0.4, box.top + at + box.size * 0.35, box.left - box.size);
        g.textAlign = 'center';
        for (const [at, text] of labels(false)) g.fillText(text, box.left + at, box.top + box.h + box.size * 1.3);
        g.fillStyle = ink;
        if (colLabel) g.fillText(colLabel, box.left + box.w / 2, box.top + box.h + box.size * 2.7);
        if (rowLabel) {
            g.save();
            g.translate(box.size, box.top + box.h / 2);
            g.rotate(-Math.PI / 2);
            g.fillText(rowLabel, 0, 0);
            g.restore();
        }
        readout.textContent = pick ? `${rowLabel} ${rowName(pick[0])} · ${colLabel} ${colName(pick[1])} : ${number(value(pick[0], pick[1]), 4)}` : '';
    }

    function picture() {
        const svg = s('svg', { xmlns: 'http://www.w3.org/2000/svg', width, height: box.total, viewBox: `0 0 ${width} ${box.total}`, 'font-family': sans, 'font-size': box.size });
        const list = [...cells()];
        svg.append(s('clipPath', { id: 'plot' }, s('rect', { x: box.left, y: box.top, width: box.w, height: box.h })));
        const inside = s('g', { 'clip-path': 'url(#plot)' });
        if (list.length <= RECTANGLES) {
            for (const { r, c, x, y, cw, rh } of list) inside.append(s('rect', { x: x.toFixed(2), y: y.toFixed(2), width: (cw + 0.3).toFixed(2), height: (rh + 0.3).toFixed(2), fill: scale(value(r, c)).fill }));
        } else {
            const { small, c0, r0, nc, nr } = raster();
            const cw = box.w / (window_.c1 - window_.c0), rh = box.h / (window_.r1 - window_.r0);
            inside.append(s('image', { x: box.left + (c0 - window_.c0) * cw, y: box.top + (r0 - window_.r0) * rh, width: nc * cw, height: nr * rh, preserveAspectRatio: 'none', 'image-rendering': 'pixelated', href: small.toDataURL('image/png') }));
        }
        svg.append(inside);
        for (const [at, text] of labels(true)) svg.append(s('text', { x: box.left - box.size * 0.4, y: box.top + at + box.size * 0.35, 'text-anchor': 'end', fill: soft }, text));
        for (const [at, text] of labels(false)) svg.append(s('text', { x: box.left + at, y: box.top + box.h + box.size * 1.3, 'text-anchor': 'middle', fill: soft }, text));
        if (colLabel) svg.append(s('text', { x: box.left + box.w / 2, y: box.top + box.h + box.size * 2.7, 'text-anchor': 'middle', fill: ink }, colLabel));
        if (rowLabel) svg.append(s('text', { transform: `translate(${box.size} ${box.top + box.h / 2}) rotate(-90)`, 'text-anchor': 'middle', fill: ink }, rowLabel));
        return svg;
    }

    /* One pointer pans, two pinch; a press without a move picks. */
    const pointers = new Map();
    let moved = false;
    canvas.addEventListener('pointerdown', e => {
        pointers.set(e.pointerId, [e.clientX, e.clientY]);
        moved = false;
        canvas.setPointerCapture(e.pointerId);
    });
    canvas.addEventListener('pointermove', e => {
        const last = pointers.get(e.pointerId);
        if (!last) return;
        const dx = e.clientX - last[0], dy = e.clientY - last[1];
        if (!moved && Math.hypot(dx, dy) < 4) return;
        moved = true;
        if (pointers.size === 2) {
            const other = [...pointers].find(([id]) => id !== e.pointerId)[1];
            const before = Math.hypot(last[0] - other[0], last[1] - other[1]), after = Math.hypot(e.clientX - other[0], e.clientY - other[1]);
            if (before > 0 && after > 0) zoom(before / after, cellAt({ clientX: (e.clientX + other[0]) / 2, clientY: (e.clientY + other[1]) / 2 }));
        } else {
            const kc = (window_.c1 - window_.c0) / box.w, kr = (window_.r1 - window_.r0) / box.h;
            setView({ c0: window_.c0 - dx * kc, c1: window_.c1 - dx * kc, r0: window_.r0 - dy * kr, r1: window_.r1 - dy * kr });
        }
        pointers.set(e.pointerId, [e.clientX, e.clientY]);
    });
    const release = e => {
        if (pointers.delete(e.pointerId) && !moved && e.type === 'pointerup') {
            const [c, r] = cellAt(e).map(Math.floor);
            if (r >= 0 && c >= 0 && r < m.rows && c < m.cols) setPick(r, c);
        }
    };
    canvas.addEventListener('pointerup', release);
    canvas.addEventListener('pointercancel', release);
    canvas.addEventListener('wheel', e => {
        if (!e.ctrlKey && !e.metaKey && document.activeElement !== canvas) return; /* the page scrolls until the field is chosen */
        e.preventDefault();
        zoom(e.deltaY > 0 ? 1.25 : 0.8, cellAt(e));
    }, { passive: false });
    canvas.addEventListener('keydown', e => {
        const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[e.key];
        if (step) setPick((pick || [0, 0])[0] + step[0], (pick || [0, 0])[1] + step[1]);
        else if (e.key === '+' || e.key === '=') zoom(0.5);
        else if (e.key === '-') zoom(2);
        else if (e.key === '0') setView(whole());
        else return;
        e.preventDefault();
    });

    return {
        node,
        picture,
        redraw(to) {
            width = Math.max(200, Math.floor(to));
            draw();
        },
    };
}
