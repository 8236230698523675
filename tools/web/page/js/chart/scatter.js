/* scatter.js: many points, two axes (linear or of powers of ten), some of them marked and named; as SVG. */
import { s } from '../dom.js';
import { frame, padded } from './frame.js';
import { number, ticks } from './axis.js';
import { accent, worse, ink } from './theme.js';

/* points: { x, y, name, mark }[]. */
export function scatter({ width, height = 360, points, x = {}, y = {}, log = false, onpick = null, label = '', diagonal = false }) {
    const map = log ? v => Math.log10(v) : v => v;
    const shown = points.filter(p => Number.isFinite(map(p.x)) && Number.isFinite(map(p.y)));
    const span = key => padded(Math.min(...shown.map(p => map(p[key]))), Math.max(...shown.map(p => map(p[key]))));
    const [xlo, xhi] = span('x'), [ylo, yhi] = span('y');
    const powers = (lo, hi, n) => (log ? ticks(lo, hi, n).map(v => [v, number(10 ** v, 2)]) : undefined);
    const f = frame({ width, height, x: { lo: xlo, hi: xhi, label: x.label, ticks: powers(xlo, xhi, 5) }, y: { lo: ylo, hi: yhi, label: y.label, ticks: powers(ylo, yhi, 5) } });
    f.svg.setAttribute('aria-label', label);
    if (diagonal) {
        const a = Math.max(xlo, ylo), b = Math.min(xhi, yhi);
        if (b > a) f.plot.append(s('line', { x1: f.x(a), y1: f.y(a), x2: f.x(b), y2: f.y(b), stroke: ink, 'stroke-dasharray': '4 4', 'stroke-opacity': 0.6 }));
    }
    const plain = shown.filter(p => !p.mark), marked = shown.filter(p => p.mark);
    for (const p of plain.concat(marked)) {
        const dot = s('circle', { cx: f.x(map(p.x)).toFixed(1), cy: f.y(map(p.y)).toFixed(1), r: p.mark ? 5 : 2.8, fill: p.mark ? worse : accent, 'fill-opacity': p.mark ? 0.95 : 0.7 },
            s('title', {}, `${p.name}: ${number(p.x)}, ${number(p.y)}`));
        f.plot.append(dot);
    }
    marked.slice(0, 12).forEach(p => f.plot.append(s('text', { x: f.x(map(p.x)) + 7, y: f.y(map(p.y)) - 4, fill: ink }, p.name)));
    if (onpick) {
        f.svg.style.cursor = 'pointer';
        f.svg.addEventListener('click', e => {
            const box = f.svg.getBoundingClientRect(), kx = width / box.width;
            const px = (e.clientX - box.left) * kx, py = (e.clientY - box.top) * kx;
            let best = null, least = 400;
            for (const p of shown) {
                const d = (f.x(map(p.x)) - px) ** 2 + (f.y(map(p.y)) - py) ** 2;
                if (d < least) [best, least] = [p, d];
            }
            if (best) onpick(best);
        });
    }
    return f.svg;
}
