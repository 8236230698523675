/* tokens.js: a text as coloured tokens or words with a number under each; and its picture for export. */
import { h, s } from '../dom.js';
import { fontSize, ink, soft, sans } from '../chart/theme.js';

/* Control characters and spaces made visible (a picture in XML could not hold them); pieces that are only white space too. */
export function shown(piece) {
    const text = piece.replace(/\n/g, '⏎').replace(/\t/g, '⇥').replace(/[\u0000-\u001f\u007f]/g, c => String.fromCharCode(c === '\u007f' ? 0x2421 : 0x2400 + c.charCodeAt(0)));
    return text.trim() === '' ? text.replace(/ /g, '␣') || '∅' : text.trim();
}

/* A candidate for a place: what would go on with the word before it says so. */
export const shownNext = piece => (/^[\p{L}\p{N}]/u.test(piece) ? `…${shown(piece)}` : shown(piece));

const beginsWord = (piece, before) => /^\s/.test(piece) || before === null || /\s$/.test(before);

/* Tokens joined to words: { text, tokens: [index], begins }; in unit "token" each stands alone. */
export function units(pieces, unit) {
    const out = [];
    pieces.forEach((piece, i) => {
        const begins = beginsWord(piece, i ? pieces[i - 1] : null);
        if (unit === 'word' && !begins && out.length) {
            out[out.length - 1].text += piece;
            out[out.length - 1].tokens.push(i);
        } else out.push({ text: piece, tokens: [i], begins });
    });
    return out;
}

/* A word's value is the sum of its tokens' that have one; null if none has. */
export function unitValue(one, values) {
    const there = one.tokens.map(i => values[i]).filter(v => v !== null && v !== undefined);
    return there.length ? there.reduce((a, b) => a + b, 0) : null;
}

/* values: one per token (null: not scored). onpick(token index): the first token of a word. */
export function tokenFlow({ pieces, values, scale, format, unit = 'token', picked = null, onpick = null, label = '', tail = [] }) {
    const cells = units(pieces, unit);
    const flow = h('div', { class: 'flow', role: onpick ? 'listbox' : 'group', 'aria-label': label });
    const draw = (text, value, colour, begins, isPicked, press, spoken) => h(onpick ? 'button' : 'span', {
        class: `tok${begins ? '' : ' joined'}`, type: onpick ? 'button' : null, role: onpick ? 'option' : null, 'aria-selected': onpick ? (isPicked ? 'true' : 'false') : null,
        'aria-label': spoken, style: { 'background-color': colour.fill, color: colour.text }, onclick: press, onfocus: press,
    }, h('span', { class: 'piece' }, text), h('span', { class: 'val' }, value));
    for (const one of cells) {
        const value = unitValue(one, values);
        const number = value === null ? '·' : format(value);
        flow.append(draw(shown(one.text), number, scale(value), one.begins, picked !== null && one.tokens.includes(picked), onpick && (() => onpick(one.tokens[0])), `${shown(one.text)}: ${number}`));
    }
    for (const extra of tail) flow.append(draw(extra.text, extra.value, extra.colour, true, extra.picked, extra.onpick, extra.text));
    flow.addEventListener('keydown', e => {
        const step = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
        if (!step || !onpick) return;
        const all = [...flow.children];
        all[all.indexOf(document.activeElement) + step]?.focus();
        e.preventDefault();
    });
    return flow;
}

/* The same as SVG, broken into lines at this width. */
export function tokenPicture({ width, pieces, values, scale, format, unit = 'token', title = '', lines = [] }) {
    const size = fontSize() * 1.15;
    const measure = text => [...text].reduce((n, c) => n + (c.charCodeAt(0) > 0x2fff ? 1.05 : 0.6), 0) * size;
    const svg = s('svg', { xmlns: 'http://www.w3.org/2000/svg', 'font-family': sans, 'font-size': size });
    let y = size * 1.6;
    for (const text of [title, ...lines].filter(Boolean)) {
        svg.append(s('text', { x: 6, y, fill: text === title ? ink : soft, 'font-weight': text === title ? 700 : 400 }, text));
        y += size * 1.5;
    }
    let x = 6;
    for (const one of units(pieces, unit)) {
        const value = unitValue(one, values), text = shown(one.text), number = value === null ? '·' : format(value);
        const w = Math.max(measure(text), measure(number) * 0.85) + size * 0.8;
        if (one.begins) x += 4;
        if (x + w > width - 6) {
            x = 6;
            y += size * 3.3;
        }
        const colour = scale(value);
        svg.append(s('rect', { x, y: y - size * 0.6, width: w, height: size * 2.9, rx: 3, fill: colour.fill }),
            s('text', { x: x + w / 2, y: y + size * 0.6, 'text-anchor': 'middle', fill: colour.text }, text),
            s('text', { x: x + w / 2, y: y + size * 1.9, 'text-anchor': 'middle', fill: colour.text, 'font-size': size * 0.85 }, number));
        x += w + 1;
    }
    const height = y + size * 3;
    svg.setAttribute('width', width);
    svg.setAttribute('height', height);
    svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
    return svg;
}
