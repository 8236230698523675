/* export.js: what a view shows, as files: tables as CSV and JSON, pictures as SVG and PNG. Nothing leaves the machine. */
import { paper } from './chart/theme.js';

/* RFC 4180: quotes where needed, CRLF. table: { columns: [name], rows: [[value]] }. */
export function csv({ columns, rows }) {
    const cell = v => {
        const text = v === null || v === undefined || (typeof v === 'number' && !Number.isFinite(v)) ? '' : String(v);
        return /[",\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
    };
    return [columns, ...rows].map(row => row.map(cell).join(',')).join('\r\n') + '\r\n';
}

/* The address is written along: whoever has the file finds the view again. */
export const json = (name, { columns, rows }) => JSON.stringify({
    schema: 'strata.view/1', view: name, address: location.href,
    rows: rows.map(row => Object.fromEntries(columns.map((c, i) => [c, row[i] ?? null]))),
}, null, 1);

export function svgText(svg) {
    const copy = svg.cloneNode(true);
    copy.setAttribute('xmlns', 'http://www.w3.org/2000/svg');
    copy.removeAttribute('style');
    copy.querySelectorAll('[fill="transparent"]').forEach(node => node.remove());
    const box = (copy.getAttribute('viewBox') || '0 0 0 0').split(' ');
    const ground = document.createElementNS('http://www.w3.org/2000/svg', 'rect');
    Object.entries({ x: box[0], y: box[1], width: box[2], height: box[3], fill: paper }).forEach(([k, v]) => ground.setAttribute(k, v));
    copy.prepend(ground);
    return `<?xml version="1.0" encoding="UTF-8"?>\n${new XMLSerializer().serializeToString(copy)}\n`;
}

/* At twice the size, for slides and print. */
export async function png(svg, factor = 2) {
    const url = URL.createObjectURL(new Blob([svgText(svg)], { type: 'image/svg+xml' }));
    try {
        const image = new Image();
        await new Promise((done, fail) => {
            image.onload = done;
            image.onerror = () => fail(new Error('the picture could not be drawn'));
            image.src = url;
        });
        const [, , w, h] = svg.getAttribute('viewBox').split(' ').map(Number);
        const canvas = document.createElement('canvas');
        canvas.width = Math.ceil(w * factor);
        canvas.height = Math.ceil(h * factor);
        canvas.getContext('2d').drawImage(image, 0, 0, canvas.width, canvas.height);
        return await new Promise(done => canvas.toBlob(done, 'image/png'));
    } finally {
        URL.revokeObjectURL(url);
    }
}

export function save(name, content, type) {
    const blob = content instanceof Blob ? content : new Blob([content], { type });
    const link = document.createElement('a');
    link.href = URL.createObjectURL(blob);
    link.download = name;
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/* name: of the file, without ending. table() and picture() are asked when a button is pressed. */
export async function exportAs(kind, name, { table, picture }) {
    if (kind === 'csv') save(`${name}.csv`, csv(table()), 'text/csv');
    if (kind === 'json') save(`${name}.json`, json(name, table()), 'application/json');
    if (kind === 'svg') save(`${name}.svg`, svgText(picture()), 'image/svg+xml');
    if (kind === 'png') save(`${name}.png`, await png(picture()), 'image/png');
}
