/* axis.js: scales, ticks and numbers as text. */

export function linear([d0, d1], [r0, r1]) {
    const k = d1 === d0 ? 0 : (r1 - r0) / (d1 - d0);
    const f = v => r0 + (v - d0) * k;
    f.invert = p => (k ? d0 + (p - r0) / k : d0);
    return f;
}

/* Round steps of 1, 2 or 5 times a power of ten; about n of them. */
export function ticks(lo, hi, n = 5) {
    if (!(hi > lo)) return [lo];
    const raw = (hi - lo) / Math.max(1, n);
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = power * ([1, 2, 5, 10].find(m => m * power >= raw * 0.999) || 10);
    const out = [];
    for (let i = Math.ceil(lo / step - 1e-9); i * step <= hi + step * 1e-9; i++) out.push(Number((i * step).toPrecision(12)));
    return out;
}

/* For reading: three figures, a true minus. */
export function number(v, digits = 3) {
    if (v === null || v === undefined || !Number.isFinite(v)) return '–';
    if (v === 0) return '0';
    const size = Math.abs(v);
    let text;
    if (size >= 1e6 || size < 1e-4) text = v.toExponential(Math.max(0, digits - 1)).replace('e+', 'e');
    else if (size >= 1000) text = Math.round(v).toLocaleString('en-US');
    else text = v.toFixed(Math.max(0, Math.min(6, digits - 1 - Math.floor(Math.log10(size)))));
    return text.replace('-', '−');
}

/* For an axis: no zeros behind the last figure. */
export const tickText = v => number(v).replace(/(\.\d*?)0+$/, '$1').replace(/\.$/, '');

/* n decimals always; signed where asked. */
export function fixed(v, n = 2, signed = false) {
    if (v === null || v === undefined || !Number.isFinite(v)) return '–';
    const text = Math.abs(v).toFixed(n);
    const zero = Number(text) === 0;
    return (v < 0 && !zero ? '−' : signed && !zero ? '+' : '') + text;
}

export const percent = v => (v === null || v === undefined ? '–' : `${(100 * v).toFixed(v < 0.0995 ? 1 : 0)} %`);
