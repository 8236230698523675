/* card.js: the frame of every figure: a heading, one sentence on how to read it, controls, the figure at the width there is, and its four exports. */
import { h, replace } from './dom.js';
import { t } from './i18n.js';
import { exportAs } from './export.js';

/* draw(width): an SVG or other element, or null while there is nothing; table(): { columns, rows }; picture(): the SVG to export (default: the
 * one drawn). Returns { node, redraw, controls(...) }. */
export function card({ name, title, hint = '', draw, table = null, picture = null, controls = [], wide = false, empty = '' }) {
    const body = h('div', { class: 'cardbody' });
    const bar = h('div', { class: 'cardcontrols' }, controls);
    const message = h('p', { class: 'hint', 'aria-live': 'polite' }, hint);
    let drawn = null, lastWidth = 0;
    const ask = { table, picture: picture || (() => drawn) };
    const kinds = [...(table ? ['csv', 'json'] : []), 'svg', 'png'];
    const exports = h('div', { class: 'exports', role: 'group', 'aria-label': t('export.label') },
        h('span', { class: 'label' }, t('export.label')),
        kinds.map(kind => h('button', {
            type: 'button', class: 'mini', 'data-export': kind, 'aria-label': t('export.as', { kind: kind.toUpperCase(), what: title }), onclick: () => exportAs(kind, `strata_${name}`, ask),
        }, kind.toUpperCase())));
    const node = h('section', { class: wide ? 'card wide' : 'card', 'data-card': name },
        h('header', {}, h('h3', {}, title), bar), message, body, exports);

    function redraw() {
        const width = Math.floor(body.clientWidth);
        if (width < 40) return;
        lastWidth = width;
        const result = draw(width);
        drawn = result instanceof SVGElement ? result : null;
        exports.hidden = !result || (!drawn && !picture);
        const held = document.activeElement && body.contains(document.activeElement) && result && result.contains?.(document.activeElement);
        if (!held) replace(body, result || h('p', { class: 'empty' }, empty));
    }
    const observer = new ResizeObserver(() => {
        if (Math.abs(body.clientWidth - lastWidth) > 2) redraw();
    });
    observer.observe(body);
    return {
        node,
        redraw,
        hint: text => replace(message, text),
        setControls: (...children) => replace(bar, children),
        title: text => replace(node.querySelector('h3'), text),
    };
}

/* A sentence about something that went wrong, in the place where the result would be. */
export const complaint = text => h('p', { class: 'complaint', role: 'alert' }, text);
