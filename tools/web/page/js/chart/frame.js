/* frame.js: the plot area with axes that line charts, columns and scatters share. */
import { s } from '../dom.js';
import { linear, ticks, tickText } from './axis.js';
import { fontSize, ink, soft, line, sans } from './theme.js';

/* x, y: { lo, hi, label, ticks: [value, text][] or absent }. Returns { svg, plot, x, y, w, h, left, top }: draw into plot. */
export function frame({ width, height, x, y, title, left: leftAsked }) {
    const size = fontSize();
    const yTicks = y.ticks || ticks(y.lo, y.hi, Math.max(2, Math.floor(height / (size * 4)))).map(v => [v, tickText(v)]);
    const widest = Math.max(...yTicks.map(([, text]) => text.length), 1);
    const left = leftAsked || Math.ceil(widest * size * 0.58 + size * (y.label ? 2.4 : 1));
    const right = size, top = size * (title ? 2.2 : 0.8), bottom = size * (x.label ? 3.4 : 2);
    const w = Math.max(10, width - left - right), h = Math.max(10, height - top - bottom);
    const sx = linear([x.lo, x.hi], [left, left + w]);
    const sy = linear([y.lo, y.hi], [top + h, top]);
    const svg = s('svg', { xmlns: 'http://www.w3.org/2000/svg', width, height, viewBox: `0 0 ${width} ${height}`, 'font-family': sans, 'font-size': size, role: 'img' });
    if (title) svg.append(s('text', { x: left, y: size * 1.2, fill: ink, 'font-weight': 600 }, title));

    for (const [v, text] of yTicks) {
        const py = sy(v);
        if (py < top - 1 || py > top + h + 1) continue;
        svg.append(s('line', { x1: left, x2: left + w, y1: py, y2: py, stroke: line, 'stroke-width': v === 0 ? 1.6 : 0.8 }));
        svg.append(s('text', { x: left - size * 0.5, y: py + size * 0.35, 'text-anchor': 'end', fill: soft }, text));
    }
    let xTicks = x.ticks || ticks(x.lo, x.hi, Math.max(2, Math.floor(w / (size * 5)))).map(v => [v, tickText(v)]);
    // Labels that would touch are left out, evenly.
    const need = Math.max(...xTicks.map(([, text]) => text.length), 1) * size * 0.62 + size * 0.5;
    const room = xTicks.length > 1 ? Math.abs(sx(xTicks[1][0]) - sx(xTicks[0][0])) : w;
    const every = Math.max(1, Math.ceil(need / Math.max(room, 1e-6)));
    xTicks = xTicks.filter((_, i) => i % every === 0);
    for (const [v, text] of xTicks) svg.append(s('text', { x: sx(v), y: top + h + size * 1.3, 'text-anchor': 'middle', fill: soft }, text));
    if (x.label) svg.append(s('text', { x: left + w / 2, y: height - size * 0.6, 'text-anchor': 'middle', fill: ink }, x.label));
    if (y.label) svg.append(s('text', { transform: `translate(${size} ${top + h / 2}) rotate(-90)`, 'text-anchor': 'middle', fill: ink }, y.label));
    const plot = s('g');
    svg.append(plot);
    return { svg, plot, x: sx, y: sy, w, h, left, top, size };
}

/* Room around the data. */
export function padded(lo, hi, share = 0.05) {
    if (!Number.isFinite(lo) || !Number.isFinite(hi)) return [0, 1];
    if (lo === hi) return [lo - Math.abs(lo || 1) * 0.1, hi + Math.abs(hi || 1) * 0.1];
    return [lo - (hi - lo) * share, hi + (hi - lo) * share];
}
