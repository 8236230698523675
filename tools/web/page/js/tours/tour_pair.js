/* tour_pair.js: pairs that differ in one token: where the difference is, how it travels, and what two pairs can and cannot tell. */
import { h } from '../dom.js';
import { t } from '../i18n.js';
import { lines } from '../chart/lines.js';
import { grid } from '../chart/grid.js';
import { columns } from '../chart/bars.js';
import { colourScale } from '../chart/theme.js';
import { number, fixed } from '../chart/axis.js';
import { stepText } from '../order.js';

/* [a, b] of a change of meaning and of an error; each with spares, should a tokenizer split one of the words. */
const meaning = [['The captain of the ship was born in London .', 'The captain of the team was born in London .'], ['The name of the city was used in the song .', 'The name of the song was used in the song .'], ['He was in the house .', 'He was in the school .']];
const error = [['The captain of the ship was born in London .', 'The captain of the ship were born in London .'], ['The name of the city was used in the song .', 'The name of the city were used in the song .'], ['He was in the house .', 'He were in the house .']];

async function first(live, list) {
    for (const [a, b] of list) {
        const r = await live.pair(a, b);
        if (r.ok) return { ...r, a, b };
    }
    throw new Error(t('tour.noPair'));
}
const point = (r, p) => (p === 0 ? t('inside.embeddingShort') : stepText(r.steps[p - 1]));
const ticks = r => r.norm.map((_, p) => [p, point(r, p)]);
const link = r => ({ view: 'pairs', state: { bpart: 'pair', pa: r.a, pb: r.b, dims: null } });
const spread = r => width => grid({ width, minCell: 44, label: t('pair.spread'), rowNames: r.norm.map((_, p) => point(r, p)), colNames: r.tokens_a.map(x => x.piece.trim()), rowLabel: t('inside.pointLabel'), scale: colourScale('amount', Math.max(...r.relative.flat()), { root: true }), cell: (p, i) => ({ value: r.relative[p][i], text: number(r.relative[p][i], 2) }) });
const curve = (r, at) => width => lines({ width, height: 270, zero: true, label: t('pair.curves'), series: [{ name: '', points: r.relative.map((row, p) => [p, row[at]]) }], x: { label: t('inside.pointLabel'), ticks: ticks(r) }, y: { label: t('curve.relative_norm') } });

export const pairTour = [
    {
        kind: 'read', name: 'pair',
        async show(live) {
            const r = await first(live, meaning), line = (name, tokens) => h('p', { class: 'pairtokens' }, h('strong', {}, name), tokens.map((x, i) => h('span', { class: i === r.edit ? 'ptok differs' : 'ptok' }, live.shown(x.piece))));
            return { values: {}, figure: () => h('div', {}, line('A', r.tokens_a), line('B', r.tokens_b)), link: link(r) };
        },
    },
    {
        kind: 'ask', name: 'before', options: 3,
        async show(live) {
            const r = await first(live, meaning), before = Math.max(0, ...r.norm.flatMap(row => row.slice(0, r.edit))), after = Math.max(...r.norm.flatMap(row => row.slice(r.edit)));
            return { right: before === 0 ? 0 : before < 0.1 * after ? 1 : 2, values: { before: number(before), after: number(after) }, figure: spread(r), link: link(r) };
        },
    },
    {
        kind: 'ask', name: 'edited', options: 3,
        async show(live) {
            const r = await first(live, meaning), begin = r.relative[0][r.edit], end = r.relative[r.relative.length - 1][r.edit];
            return { right: end < 0.8 * begin ? 0 : end > 1.25 * begin ? 2 : 1, values: { begin: fixed(begin, 2), end: fixed(end, 2) }, figure: curve(r, r.edit), link: link(r) };
        },
    },
    {
        kind: 'ask', name: 'travels', options: 3,
        async show(live) {
            const r = await first(live, meaning), last = r.positions.last, first_ = r.relative.findIndex(row => row[last] > 0);
            return { right: first_ === 0 ? 0 : first_ === 1 ? 1 : 2, values: { point: point(r, Math.max(0, first_)), end: fixed(r.relative[r.relative.length - 1][last], 3) }, figure: curve(r, last), link: link(r) };
        },
    },
    {
        kind: 'ask', name: 'error', options: 3,
        async show(live) {
            const m = await first(live, meaning), e = await first(live, error), at = r => r.kl[r.kl.length - 1], a = at(m), b = at(e);
            return {
                right: Math.abs(a - b) < 0.1 * Math.max(a, b) ? 2 : a > b ? 0 : 1, values: { meaning: fixed(a, 4), error: fixed(b, 4) }, link: link(e),
                figure: width => h('div', {}, columns({ width: Math.min(width, 520), height: 220, label: t('pair.kl'), values: [{ label: t('tour.meaningPair'), value: a, colour: '#0b5775' }, { label: t('tour.errorPair'), value: b }], y: { label: t('unit.nats') } }),
                    lines({ width, height: 280, zero: true, label: t('pair.kl'), series: [{ name: t('tour.meaningPair'), points: m.kl.map((v, p) => [p, v]) }, { name: t('tour.errorPair'), points: e.kl.map((v, p) => [p, v]) }], x: { label: t('inside.pointLabel'), ticks: ticks(m) }, y: { label: t('unit.nats') } })),
            };
        },
    },
];
