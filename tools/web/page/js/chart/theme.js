/* theme.js: colours and sizes of all charts. Written into attributes, so that an exported picture stands alone. Scales are safe for colour-blind
 * readers: one hue from light to dark for amounts, blue against orange for changes. */

export const ink = '#1d2126';
export const soft = '#565c66';
export const line = '#d9d4c7';
export const paper = '#fffdf8';
export const accent = '#0b5775';
export const worse = '#b3541e';
/* Okabe and Ito's hues, darkened to stand on paper. */
export const series = ['#0b5775', '#b3541e', '#117a5b', '#8a3b7d', '#7a5c00', '#2f6fd0', '#c0325b', '#4b4f57'];
export const dashes = ['', '7 4', '2 4', '10 3 2 3', '5 2', '1 3', '12 4', '4 6'];
export const sans = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Hiragino Sans", "Noto Sans CJK JP", "Yu Gothic", Meiryo, sans-serif';

export const isProjector = () => document.documentElement.classList.contains('projector');
export const fontSize = () => (isProjector() ? 18 : 12.5);

const mix = (a, b, f) => a.map((v, i) => v + (b[i] - v) * f);
function ramp(stops) {
    return x => {
        const at = Math.min(Math.max(Number.isFinite(x) ? x : 0, 0), 1) * (stops.length - 1);
        const i = Math.min(Math.floor(at), stops.length - 2);
        return mix(stops[i], stops[i + 1], at - i);
    };
}
const amountRamp = ramp([[255, 253, 248], [214, 231, 236], [150, 195, 210], [72, 140, 168], [11, 87, 117], [4, 44, 66]]);
const better = ramp([[255, 253, 248], [205, 222, 240], [131, 174, 217], [54, 113, 178], [17, 62, 117]]);
const worseRamp = ramp([[255, 253, 248], [250, 222, 194], [238, 172, 116], [201, 104, 44], [124, 45, 8]]);

const css = c => `rgb(${c.map(v => Math.round(v)).join(',')})`;
const luminance = c => {
    const [r, g, b] = c.map(v => v / 255).map(v => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
/* Whichever of black and white reads better: where both are alike the contrast is sqrt(21) = 4.58. */
const textOn = c => ((luminance(c) + 0.05) / 0.05 > 1.05 / (luminance(c) + 0.05) ? '#000000' : '#ffffff');

const colour = c => ({ rgb: c, fill: css(c), text: textOn(c) });
/* x from 0 to 1. */
export const amount = x => colour(amountRamp(x));
/* x from -1 (blue: less) to 1 (orange: more). */
export const change = x => colour(x < 0 ? better(-x) : worseRamp(x));
export const missing = { rgb: [233, 229, 219], fill: '#e9e5db', text: ink };

/* A scale for values: kind amount (0 .. max) or change (-max .. max); linear in the value, or in its square root, which shows the small ones. */
export function colourScale(kind, max, { root = false } = {}) {
    const top = max > 0 && Number.isFinite(max) ? max : 1;
    const bend = x => (root ? Math.sign(x) * Math.sqrt(Math.abs(x)) : x);
    const scale = v => (v === null || v === undefined || Number.isNaN(v) ? missing : kind === 'change' ? change(bend(Math.max(-1, Math.min(1, v / top)))) : amount(bend(Math.min(1, Math.max(0, v / top)))));
    return Object.assign(scale, { kind, max: top });
}

/* The largest size among values that are there, or its q quantile. */
export function extent(values, q = 1) {
    const sizes = Float64Array.from(values.filter(Number.isFinite), Math.abs).sort();
    return sizes.length ? sizes[Math.min(sizes.length - 1, Math.floor(q * sizes.length))] : 1;
}
