/* tour_embed.js: from the embedding to the logits. */
import { h } from '../dom.js';
import { t } from '../i18n.js';
import { SENTENCE } from './live.js';
import { lines } from '../chart/lines.js';
import { rows } from '../chart/bars.js';
import { grid } from '../chart/grid.js';
import { colourScale } from '../chart/theme.js';
import { number, percent, fixed } from '../chart/axis.js';
import { stepText } from '../order.js';

const PLACE = 3; /* "The captain of the": the token whose successor is guessed, without BOS */

const at = live => PLACE + (live.model.bos ? 1 : 0);

export const embedTour = [
    {
        kind: 'read', name: 'tokens',
        async show(live) {
            const r = await live.run(SENTENCE);
            return { values: {}, figure: () => h('div', { class: 'flow' }, r.tokens.map(x => h('span', { class: 'tok' }, h('span', { class: 'piece' }, live.shown(x.piece)), h('span', { class: 'val' }, x.id)))) };
        },
    },
    {
        kind: 'ask', name: 'row', options: 3,
        async show(live) {
            const list = await Promise.all([0, 1, 2, 3, 4, 5, 6, 7].map(c => live.arithmetic(SENTENCE, { op: 'embed', position: at(live), coordinate: c })));
            return {
                right: 1, values: { first: list.map(a => number(a.value, 3)).join(', ') },
                figure: width => rows({ width: Math.min(width, 560), label: 'embedding', values: list.map((a, i) => ({ label: `[${i}]`, value: a.value })) }),
                link: { view: 'inside', state: { text: SENTENCE, order: `0-${live.model.n_layers - 1}`, part: 'arithmetic', op: 'embed', at: at(live), coord: 0 } },
            };
        },
    },
    {
        kind: 'ask', name: 'early', options: 3,
        async show(live) {
            const r = await live.lens(SENTENCE), i = at(live), top = r.ids[0][i][0];
            return {
                right: top === r.tokens[i].id ? 0 : top === r.tokens[i + 1].id ? 1 : 2, values: { top: live.shown(r.pieces[top]), p: percent(r.p[0][i][0]), input: live.shown(r.tokens[i].piece), really: live.shown(r.tokens[i + 1].piece) },
                figure: width => rows({ width: Math.min(width, 640), max: 1, text: percent, label: 'logit lens', values: r.ids[0][i].map((id, c) => ({ label: live.shown(r.pieces[id]), value: r.p[0][i][c], mark: id === r.tokens[i].id })) }),
            };
        },
    },
    {
        kind: 'ask', name: 'settles', options: 3,
        async show(live) {
            const r = await live.lens(SENTENCE), i = at(live), final = r.ids[r.ids.length - 1][i][0];
            // From where on the final answer stays the first candidate.
            let from = r.ids.length - 1;
            while (from > 0 && r.ids[from - 1][i][0] === final) from--;
            const name = p => (p === 0 ? t('inside.embeddingShort') : stepText(r.steps[p - 1]));
            return {
                right: live.third(Math.max(0, from - 1), r.steps.length), values: { final: live.shown(r.pieces[final]), layer: name(from) },
                figure: width => h('div', {}, grid({ width: Math.min(width, 640), label: 'logit lens', rowNames: r.ids.map((_, p) => name(p)), colNames: [live.shown(r.tokens[i].piece)], rowLabel: t('inside.pointLabel'), scale: colourScale('amount', 1), cell: p => ({ value: r.p[p][i][0], text: `${live.shown(r.pieces[r.ids[p][i][0]])}  ${percent(r.p[p][i][0])}` }) }),
                    lines({ width, height: 240, zero: true, label: 'loss', series: [{ name: '', points: r.next_nll.map((row, p) => [p, row[i]]) }], x: { label: t('inside.pointLabel'), ticks: r.ids.map((_, p) => [p, name(p)]) }, y: { label: t('lens.lossNext') } })),
                link: { view: 'inside', state: { text: SENTENCE, order: `0-${live.model.n_layers - 1}`, part: 'lens', tok: i } },
            };
        },
    },
    {
        kind: 'ask', name: 'logit', options: 3,
        async show(live) {
            const r = await live.run(SENTENCE), i = at(live), id = r.variant.candidates[i + 1].ids[0];
            const a = await live.arithmetic(SENTENCE, { op: 'logit', position: i, coordinate: id });
            const [x, w] = a.operands, terms = x.values.map((v, j) => [j, v * w.values[j]]).sort((p, q) => Math.abs(q[1]) - Math.abs(p[1])).slice(0, 8);
            return {
                right: 1, values: { piece: live.shown(r.pieces[id]), value: fixed(a.value, 4), terms: x.values.length },
                figure: width => rows({ width: Math.min(width, 640), label: 'terms', values: terms.map(([j, v]) => ({ label: `x[${j}]·w[${j}]`, value: v })) }),
                link: { view: 'inside', state: { text: SENTENCE, order: `0-${live.model.n_layers - 1}`, part: 'arithmetic', op: 'logit', at: i, coord: id } },
            };
        },
    },
];
