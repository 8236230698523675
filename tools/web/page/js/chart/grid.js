/* grid.js: a heat map of a few hundred cells with names of rows and columns and, where they fit, the values; as SVG. */
import { s } from '../dom.js';
import { number } from './axis.js';
import { fontSize, ink, soft, sans, worse } from './theme.js';

const measure = (word, size) => [...String(word)].reduce((n, c) => n + (c.charCodeAt(0) > 0x2fff ? 1.05 : /[A-Z]/.test(c) ? 0.74 : 0.6), 0) * size;

/* cell(r, c): { value, text, title, dim, mark }; scale(value): a colour. onpick(r, c). */
export function grid({ width, rowNames, colNames, cell, scale, onpick = null, picked = null, minCell = 0, rowLabel = '', colLabel = '', label = '', rowHeight: asked = 0 }) {
    const size = fontSize();
    const left = Math.min(width * 0.35, Math.max(...rowNames.map(n => measure(n, size)), size)) + size * (rowLabel ? 2.2 : 0.8);
    const cellWidth = Math.max(minCell, (width - left - 4) / Math.max(1, colNames.length));
    const total = left + cellWidth * colNames.length + 4;
    const rowHeight = asked || size * 1.9;
    const slanted = Math.max(...colNames.map(n => measure(n, size)), 0) > cellWidth - 3 && colNames.some(n => String(n).length > 3);
    const top = (slanted ? Math.min(size * 7, Math.max(...colNames.map(n => measure(n, size))) * 0.75 + size) : size * 1.6) + (colLabel ? size * 1.4 : 0);
    const height = top + rowHeight * rowNames.length + 4;
    const svg = s('svg', { xmlns: 'http://www.w3.org/2000/svg', width: total, height, viewBox: `0 0 ${total} ${height}`, 'font-family': sans, 'font-size': size, role: 'img', 'aria-label': label });
    if (colLabel) svg.append(s('text', { x: left + (total - left) / 2, y: size, 'text-anchor': 'middle', fill: ink }, colLabel));
    if (rowLabel) svg.append(s('text', { transform: `translate(${size} ${top + (height - top) / 2}) rotate(-90)`, 'text-anchor': 'middle', fill: ink }, rowLabel));
    const every = slanted ? Math.max(1, Math.ceil((size * 1.1) / cellWidth)) : Math.max(1, Math.ceil((Math.max(...colNames.map(n => measure(n, size))) + 4) / cellWidth));
    colNames.forEach((name, c) => {
        if (c % every) return;
        const x = left + (c + 0.5) * cellWidth;
        svg.append(slanted ? s('text', { transform: `translate(${x} ${top - size * 0.4}) rotate(-50)`, fill: soft }, name)
            : s('text', { x, y: top - size * 0.5, 'text-anchor': 'middle', fill: soft }, name));
    });
    rowNames.forEach((name, r) => {
        const y = top + r * rowHeight;
        svg.append(s('text', { x: left - size * 0.5, y: y + rowHeight * 0.5 + size * 0.35, 'text-anchor': 'end', fill: soft }, name));
        for (let c = 0; c < colNames.length; c++) {
            const it = cell(r, c);
            const colour = scale(it.value);
            const x = left + c * cellWidth;
            svg.append(s('rect', { class: 'cell', x, y, width: Math.max(0.5, cellWidth - (cellWidth > 6 ? 1 : 0)), height: rowHeight - 1, fill: colour.fill, 'fill-opacity': it.dim ? 0.45 : 1 },
                s('title', {}, it.title || `${name}, ${colNames[c]}: ${number(it.value, 4)}`)));
            const text = it.text ?? number(it.value, 2);
            if (text && measure(text, size) < cellWidth - 3) {
                svg.append(s('text', { x: x + cellWidth / 2, y: y + rowHeight * 0.5 + size * 0.34, 'text-anchor': 'middle', fill: it.dim ? ink : colour.text, 'pointer-events': 'none', 'font-weight': it.mark ? 700 : 400 }, text));
            }
        }
    });
    if (picked) svg.append(s('rect', { x: left + picked[1] * cellWidth, y: top + picked[0] * rowHeight, width: cellWidth - 1, height: rowHeight - 1, fill: 'none', stroke: worse, 'stroke-width': 2.5, 'pointer-events': 'none' }));
    if (onpick) {
        svg.style.cursor = 'pointer';
        svg.addEventListener('click', e => {
            const box = svg.getBoundingClientRect();
            const c = Math.floor((((e.clientX - box.left) / box.width) * total - left) / cellWidth);
            const r = Math.floor((((e.clientY - box.top) / box.height) * height - top) / rowHeight);
            if (r >= 0 && r < rowNames.length && c >= 0 && c < colNames.length) onpick(r, c);
        });
    }
    return svg;
}

/* Words in lines no wider than room. */
function broken(text, room, size) {
    const lines = [''];
    for (const word of text.split(' ')) {
        const longer = `${lines[lines.length - 1]} ${word}`.trim();
        if (measure(longer, size) > room && lines[lines.length - 1]) lines.push(word);
        else lines[lines.length - 1] = longer;
    }
    return lines;
}

/* A colour scale spelled out: from low to high with its numbers. */
export function legend({ width = 260, scale, text, digits = 2 }) {
    const size = fontSize(), steps = 40, room = Math.max(Math.min(width, 300), size * 20), lines = broken(text, room, size);
    const w = Math.max(Math.min(width, 300), ...lines.map(one => measure(one, size))), down = (lines.length - 1) * size * 1.25, height = size * 3.1 + down;
    const svg = s('svg', { xmlns: 'http://www.w3.org/2000/svg', width: w, height, viewBox: `0 0 ${w} ${height}`, 'font-family': sans, 'font-size': size, 'aria-hidden': 'true' });
    const lo = scale.kind === 'change' ? -scale.max : 0;
    lines.forEach((one, i) => svg.append(s('text', { x: 0, y: size * (1 + 1.25 * i), fill: ink }, one)));
    for (let i = 0; i < steps; i++) svg.append(s('rect', { class: 'cell', x: (i * w) / steps, y: size * 1.4 + down, width: w / steps + 0.6, height: size * 0.55, fill: scale(lo + ((i + 0.5) / steps) * (scale.max - lo)).fill }));
    [[0, lo, 'start'], [w / 2, (lo + scale.max) / 2, 'middle'], [w, scale.max, 'end']].forEach(([x, v, anchor]) => svg.append(s('text', { x, y: size * 3 + down, 'text-anchor': anchor, fill: soft }, number(v, digits))));
    return svg;
}
