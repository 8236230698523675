/* lines.js: curves with bands, one or several series, told apart by colour, dash and a mark, with a legend. */
import { s } from '../dom.js';
import { frame, padded } from './frame.js';
import { series as colours, dashes, paper, ink, accent } from './theme.js';
import { number, tickText } from './axis.js';

const marks = [
    (x, y, r) => s('circle', { cx: x, cy: y, r }),
    (x, y, r) => s('rect', { x: x - r, y: y - r, width: 2 * r, height: 2 * r }),
    (x, y, r) => s('path', { d: `M${x} ${y - r * 1.2}L${x + r * 1.2} ${y + r}L${x - r * 1.2} ${y + r}Z` }),
    (x, y, r) => s('path', { d: `M${x} ${y - r * 1.3}L${x + r * 1.3} ${y}L${x} ${y + r * 1.3}L${x - r * 1.3} ${y}Z` }),
];

/* series: { name, points: [x, y|null][], band: [x, lo, hi][] }. x, y: { label, ticks, lo, hi }. cursor: an x that is marked. onpick(x of the nearest point). bend: y by its
 * signed square root, which shows small values beside large ones. */
export function lines({ width, height = 300, series, x = {}, y = {}, cursor = null, onpick = null, zero = false, bend = false, label = '' }) {
    const up = v => (bend && Number.isFinite(v) ? Math.sign(v) * Math.sqrt(Math.abs(v)) : v);
    if (bend) series = series.map(one => ({ ...one, points: one.points.map(([px, py]) => [px, up(py), py]), band: (one.band || []).map(([px, lo, hi]) => [px, up(lo), up(hi)]) }));
    const all = series.flatMap(one => one.points).filter(([, v]) => Number.isFinite(v));
    const banded = series.flatMap(one => one.band || []).filter(b => Number.isFinite(b[1]) && Number.isFinite(b[2]));
    const xs = all.map(p => p[0]);
    const ys = all.map(p => p[1]).concat(banded.flatMap(b => [b[1], b[2]]), zero ? [0] : []);
    const [ylo, yhi] = padded(Math.min(...ys), Math.max(...ys));
    const [xlo, xhi] = padded(Math.min(...xs), Math.max(...xs), 0.02);
    const names = series.filter(one => one.name);
    const legendRows = names.length > 1 ? layoutLegend(names, width) : [];
    const size = frame({ width: 100, height: 100, x: { lo: 0, hi: 1 }, y: { lo: 0, hi: 1 } }).size;
    const legendHeight = legendRows.length * size * 1.6;
    const f = frame({
        width, height: height - legendHeight,
        x: { lo: x.lo ?? xlo, hi: x.hi ?? xhi, label: x.label, ticks: x.ticks }, y: { lo: y.lo ?? (zero && ylo > 0 ? 0 : ylo), hi: y.hi ?? yhi, label: y.label, ticks: bend ? bentTicks(ylo, yhi) : y.ticks },
    });
    f.svg.setAttribute('height', height);
    f.svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
    if (label) f.svg.setAttribute('aria-label', label);
    if (cursor !== null) f.plot.append(s('line', { x1: f.x(cursor), x2: f.x(cursor), y1: f.top, y2: f.top + f.h, stroke: accent, 'stroke-width': 1.5, 'stroke-dasharray': '3 3' }));

    series.forEach((one, i) => {
        const colour = one.colour || colours[i % colours.length];
        const band = (one.band || []).filter(b => Number.isFinite(b[1]) && Number.isFinite(b[2]));
        if (band.length > 1) {
            const d = band.map(b => `${f.x(b[0]).toFixed(1)} ${f.y(b[2]).toFixed(1)}`).join('L') + 'L' +
                [...band].reverse().map(b => `${f.x(b[0]).toFixed(1)} ${f.y(b[1]).toFixed(1)}`).join('L');
            f.plot.append(s('path', { d: `M${d}Z`, class: 'band', fill: colour, 'fill-opacity': 0.16 }));
        }
        let d = '', pen = 'M';
        for (const [px, py] of one.points) {
            if (!Number.isFinite(py)) { pen = 'M'; continue; }
            d += `${pen}${f.x(px).toFixed(1)} ${f.y(py).toFixed(1)}`;
            pen = 'L';
        }
        f.plot.append(s('path', { d, fill: 'none', stroke: colour, 'stroke-width': one.thin ? 1 : 2.2, 'stroke-dasharray': one.dash ?? dashes[i % dashes.length], 'stroke-opacity': one.thin ? 0.8 : 1, 'stroke-linejoin': 'round' }));
        if (!one.thin && one.points.length <= 90) {
            for (const [px, py, real = py] of one.points) {
                if (!Number.isFinite(py)) continue;
                const mark = marks[i % marks.length](f.x(px), f.y(py), 3.4);
                mark.setAttribute('fill', colour);
                mark.setAttribute('stroke', paper);
                mark.append(s('title', {}, `${one.name ? `${one.name}: ` : ''}${number(px)}, ${number(real, 4)}`));
                f.plot.append(mark);
            }
        }
    });
    drawLegend(f.svg, legendRows, height - legendHeight, size);
    if (onpick) {
        const hit = s('rect', { x: f.left, y: f.top, width: f.w, height: f.h, fill: 'transparent', style: { cursor: 'pointer' } });
        hit.addEventListener('click', e => {
            const box = f.svg.getBoundingClientRect();
            const at = f.x.invert(((e.clientX - box.left) / box.width) * width);
            const nearest = xs.reduce((best, v) => (Math.abs(v - at) < Math.abs(best - at) ? v : best), xs[0]);
            if (nearest !== undefined) onpick(nearest);
        });
        f.svg.append(hit);
    }
    return f.svg;
}

/* Round values whose square roots lie in the window, not closer than a tenth of it. */
function bentTicks(lo, hi) {
    const out = [];
    for (const size of [0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 1e4, 1e5, 1e6]) {
        for (const v of size ? [size, -size] : [0]) {
            const at = Math.sign(v) * Math.sqrt(Math.abs(v));
            if (at >= lo && at <= hi && out.every(([other]) => Math.abs(other - at) > (hi - lo) / 10)) out.push([at, tickText(v)]);
        }
    }
    return out;
}

function layoutLegend(names, width) {
    const size = frame({ width: 100, height: 100, x: { lo: 0, hi: 1 }, y: { lo: 0, hi: 1 } }).size;
    const rows = [[]];
    let used = 0;
    names.forEach((one, i) => {
        const wide = [...one.name].reduce((n, c) => n + (c.charCodeAt(0) > 0x2fff ? 1.05 : 0.6), 0) * size + size * 4;
        if (used + wide > width && rows[rows.length - 1].length) {
            rows.push([]);
            used = 0;
        }
        rows[rows.length - 1].push({ one, i, at: used });
        used += wide;
    });
    return rows;
}

function drawLegend(svg, rows, top, size) {
    rows.forEach((row, r) => {
        for (const { one, i, at } of row) {
            const colour = one.colour || colours[i % colours.length], y = top + (r + 0.7) * size * 1.6;
            svg.append(s('line', { x1: at + size * 0.5, x2: at + size * 2.5, y1: y, y2: y, stroke: colour, 'stroke-width': 2.2, 'stroke-dasharray': one.dash ?? dashes[i % dashes.length] }));
            const mark = marks[i % marks.length](at + size * 1.5, y, 3.4);
            mark.setAttribute('fill', colour);
            svg.append(mark, s('text', { x: at + size * 2.9, y: y + size * 0.35, fill: ink }, one.name));
        }
    });
}
