/* bars.js: columns over an axis (one or two a place), and rows of bars with names, as SVG. */
import { s } from '../dom.js';
import { frame, padded } from './frame.js';
import { number } from './axis.js';
import { accent, worse, ink, soft, line, sans, fontSize } from './theme.js';

/* values: { label, value, lo, hi, colour }[] over an ordinal axis. */
export function columns({ width, height = 220, values, x = {}, y = {}, picked = null, onpick = null, label = '' }) {
    const all = values.flatMap(v => [v.value, v.lo, v.hi]).filter(Number.isFinite).concat(0);
    let [lo, hi] = padded(Math.min(...all), Math.max(...all));
    if (Math.min(...all) >= 0) lo = 0;
    const f = frame({
        width, height, x: { lo: -0.5, hi: values.length - 0.5, label: x.label, ticks: values.map((v, i) => [i, v.label]) },
        y: { lo: y.lo ?? lo, hi: y.hi ?? hi, label: y.label },
    });
    if (label) f.svg.setAttribute('aria-label', label);
    const wide = Math.max(1, (f.w / Math.max(1, values.length)) * 0.72);
    values.forEach((v, i) => {
        if (!Number.isFinite(v.value)) return;
        const colour = v.colour || (v.value > 0 ? worse : accent);
        const bar = s('rect', {
            x: f.x(i) - wide / 2, y: Math.min(f.y(v.value), f.y(0)), width: wide, height: Math.max(0.75, Math.abs(f.y(v.value) - f.y(0))), fill: colour,
            stroke: picked === i ? ink : 'none', 'stroke-width': 2,
        }, s('title', {}, `${v.label}: ${number(v.value, 4)}`));
        f.plot.append(bar);
        if (Number.isFinite(v.lo) && Number.isFinite(v.hi)) f.plot.append(s('line', { x1: f.x(i), x2: f.x(i), y1: f.y(v.lo), y2: f.y(v.hi), stroke: ink, 'stroke-width': 1.4 }));
        if (onpick) {
            const hit = s('rect', { x: f.x(i) - wide / 1.44, y: f.top, width: wide / 0.72, height: f.h, fill: 'transparent', style: { cursor: 'pointer' } });
            hit.addEventListener('click', () => onpick(i));
            f.svg.append(hit);
        }
    });
    return f.svg;
}

/* values: { label, value, other, note, mark, lo, hi }[]; other: a second, thin bar (a control). Names stand left, numbers right. */
export function rows({ width, values, max = null, digits = 3, text = v => number(v, digits), colour = accent, onpick = null, label = '', picked = null }) {
    const size = fontSize(), rowHeight = size * 2;
    const measure = word => [...String(word)].reduce((n, c) => n + (c.charCodeAt(0) > 0x2fff ? 1.05 : 0.6), 0) * size;
    const left = Math.min(width * 0.4, Math.max(...values.map(v => measure(v.label) * (v.mark ? 1.12 : 1)), size * 3) + size);
    const right = Math.max(...values.map(v => measure(text(v.value))), size * 3) + size * 0.8;
    const numbers = values.flatMap(v => [v.value, v.other, v.hi]).filter(Number.isFinite);
    const top = max ?? Math.max(...numbers.map(Math.abs), 1e-12);
    const w = Math.max(10, width - left - right), height = Math.max(1, values.length) * rowHeight;
    const svg = s('svg', { xmlns: 'http://www.w3.org/2000/svg', width, height, viewBox: `0 0 ${width} ${height}`, 'font-family': sans, 'font-size': size, role: 'img', 'aria-label': label });
    values.forEach((v, i) => {
        const y = i * rowHeight, length = Math.min(1, Math.abs(v.value || 0) / top) * w;
        const mine = v.colour || (v.value < 0 ? worse : colour);
        if (picked === i) svg.append(s('rect', { class: 'cell', x: 0, y, width, height: rowHeight, fill: '#e7eef0' }));
        svg.append(
            s('text', { x: left - size * 0.6, y: y + rowHeight * 0.66, 'text-anchor': 'end', fill: ink, 'font-weight': v.mark ? 700 : 400 }, v.label),
            s('line', { x1: left, x2: left + w, y1: y + rowHeight * 0.5, y2: y + rowHeight * 0.5, stroke: line }),
            s('rect', { x: left, y: y + rowHeight * 0.22, width: Math.max(0.75, length), height: rowHeight * (v.other === undefined ? 0.56 : 0.36), fill: mine, rx: 1.5 }));
        if (Number.isFinite(v.other)) svg.append(s('rect', { x: left, y: y + rowHeight * 0.62, width: Math.max(0.75, Math.min(1, Math.abs(v.other) / top) * w), height: rowHeight * 0.16, fill: soft, rx: 1.5 }));
        if (Number.isFinite(v.lo) && Number.isFinite(v.hi)) svg.append(s('line', { x1: left + Math.min(1, Math.max(0, v.lo / top)) * w, x2: left + Math.min(1, Math.max(0, v.hi / top)) * w, y1: y + rowHeight * 0.5, y2: y + rowHeight * 0.5, stroke: ink, 'stroke-width': 1.5 }));
        svg.append(s('text', { x: left + w + size * 0.5, y: y + rowHeight * 0.66, fill: soft }, text(v.value)));
        if (onpick) {
            const hit = s('rect', { x: 0, y, width, height: rowHeight, fill: 'transparent', style: { cursor: 'pointer' } });
            hit.addEventListener('click', () => onpick(i));
            svg.append(hit);
        }
    });
    return svg;
}
