/* tour_order.js: layers removed and exchanged, on one sentence. */
import { t } from '../i18n.js';
import { SENTENCE, mean, argmax } from './live.js';
import { columns } from '../chart/bars.js';
import { fixed, number } from '../chart/axis.js';

const layers = live => Array.from({ length: live.model.n_layers }, (_, l) => l);
const removals = live => live.scan(SENTENCE, layers(live).map(live.without));
const exchanges = live => live.scan(SENTENCE, layers(live).slice(1).map(l => live.exchanged(l - 1)));
const lab = (live, order) => ({ view: 'lab', state: { text: SENTENCE, order, tok: null } });
const bars = (values, label, name) => width => columns({ width, height: 250, label, values: values.map((v, i) => ({ label: name(i), value: v })), x: { label: t('orders.layer') }, y: { label: t('measure.delta') } });

export const orderTour = [
    {
        kind: 'read', name: 'intact',
        async show(live) {
            const r = await live.run(SENTENCE);
            return { values: {}, figure: width => columns({ width, height: 230, label: t('measure.nll'), values: r.tokens.map((x, i) => ({ label: live.shown(x.piece), value: r.variant.nll[i], colour: '#0b5775' })), y: { label: t('measure.nll') } }), link: lab(live, `0-${live.model.n_layers - 1}`) };
        },
    },
    {
        kind: 'ask', name: 'worst', options: 3,
        async show(live) {
            const d = await removals(live), worst = argmax(d);
            return { right: live.third(worst, d.length), values: { layer: worst, change: fixed(d[worst], 2, true), mildest: d.indexOf(Math.min(...d)), least: fixed(Math.min(...d), 3, true) }, figure: bars(d, t('tour.order.worst.h'), String), link: lab(live, live.without(worst)) };
        },
    },
    {
        kind: 'ask', name: 'exchange', options: 3,
        async show(live) {
            const d = await removals(live), x = await exchanges(live), inner = x.slice(1, -1), removed = mean(d.slice(1, -1)), exchanged = mean(inner);
            const near = Math.abs(removed - exchanged) < 0.1 * Math.max(Math.abs(removed), Math.abs(exchanged));
            return { right: near ? 2 : removed > exchanged ? 0 : 1, values: { removed: fixed(removed, 3, true), exchanged: fixed(exchanged, 3, true) }, figure: bars(x, t('tour.order.exchange.h'), i => `${i}↔${i + 1}`), link: lab(live, live.exchanged(Math.floor(live.model.n_layers / 2))) };
        },
    },
    {
        kind: 'ask', name: 'reverse', options: 3,
        async show(live) {
            const r = await live.run(SENTENCE, live.reversed()), factor = r.variant.ppl / r.baseline.ppl;
            return { right: factor < 3 ? 0 : r.variant.ppl < live.model.vocab / 4 ? 1 : 2, values: { before: number(r.baseline.ppl), after: number(r.variant.ppl) }, figure: width => columns({ width: Math.min(width, 520), height: 230, label: t('lab.loss'), values: [{ label: t('cand.intact'), value: r.baseline.mean_nll, colour: '#0b5775' }, { label: t('lab.reverse'), value: r.variant.mean_nll }, { label: t('tour.guessing'), value: Math.log(live.model.vocab), colour: '#565c66' }], y: { label: t('lab.loss') } }), link: lab(live, live.reversed()) };
        },
    },
    {
        kind: 'ask', name: 'halves', options: 3,
        async show(live) {
            const middle = Math.floor(live.model.n_layers / 2), half = part => `0-${middle - 1},${middle}.${part},${middle + 1}-${live.model.n_layers - 1}`;
            const [noMlp, noAttn] = live.model.n_layers > 2 ? await live.scan(SENTENCE, [half('attn'), half('mlp')]) : [0, 0];
            const near = Math.abs(noMlp - noAttn) < 0.1 * Math.max(Math.abs(noMlp), Math.abs(noAttn));
            return { right: near ? 2 : noAttn > noMlp ? 0 : 1, values: { layer: middle, attn: fixed(noAttn, 3, true), mlp: fixed(noMlp, 3, true) }, figure: width => columns({ width: Math.min(width, 520), height: 230, label: t('tour.order.halves.h'), values: [{ label: t('tour.noAttn'), value: noAttn }, { label: t('tour.noMlp'), value: noMlp }], y: { label: t('measure.delta') } }), link: lab(live, half('mlp')) };
        },
    },
];
