/* candidates.js: what stood at one place of the text, and what the intact model and the changed one would have said there. */
import { h } from '../dom.js';
import { t } from '../i18n.js';
import { shown, shownNext } from './tokens.js';
import { fixed, percent } from '../chart/axis.js';

/* position: token index; the number of tokens: what would follow the text. */
export function candidatesPanel({ result, position }) {
    const { tokens, baseline, variant, pieces } = result;
    const isNext = position >= tokens.length;
    const real = isNext ? null : tokens[position];
    const before = tokens.slice(Math.max(0, position - 6), position).map(tok => tok.piece).join('').trim();
    const of = side => (side ? (isNext ? side.next : side.candidates[position]) : null);
    if (!isNext && !of(variant)) return h('section', { class: 'candidates' }, h('h3', {}, shown(real.piece)), h('p', { class: 'hint' }, t('cand.first')));

    const column = (side, name) => {
        const c = of(side);
        if (!c) return null;
        const most = Math.max(...c.p);
        const there = real ? c.ids.indexOf(real.id) : -1;
        const rank = real ? side.rank[position] : null;
        const row = (piece, p, mark, place) => h('li', { class: mark ? 'real' : null },
            h('span', { class: 'place' }, place), h('span', { class: 'word' }, piece),
            h('span', { class: 'bar' }, h('span', { style: { width: `${Math.max(0.5, (100 * p) / most)}%` } })), h('span', { class: 'p' }, percent(p)));
        return h('div', {},
            h('h4', {}, name, real ? h('span', { class: 'was' }, t('cand.loss', { loss: fixed(side.nll[position], 2), rank: rank + 1 })) : null),
            h('ol', {}, c.ids.map((id, i) => row(shownNext(pieces[id] ?? `#${id}`), c.p[i], real && id === real.id, i + 1)),
                real && there < 0 ? row(shownNext(real.piece), Math.exp(-side.nll[position]), true, rank + 1) : null));
    };
    return h('section', { class: 'candidates', 'aria-label': t('cand.title') },
        h('h3', {}, isNext ? t('cand.nextTitle') : t('cand.at'), ' ', h('span', { class: 'context' }, `… ${before} `), h('mark', {}, isNext ? '?' : shown(real.piece))),
        h('div', { class: 'two' }, column(baseline, t('cand.intact')), column(variant, t('cand.changed'))),
        real ? h('p', { class: 'hint' }, t('cand.hint')) : null);
}
