/* tour_stream.js: the residual stream: what it is, how it grows, who writes into it, where it turns. */
import { t } from '../i18n.js';
import { SENTENCE, mean, argmax } from './live.js';
import { lines } from '../chart/lines.js';
import { columns } from '../chart/bars.js';
import { fixed, number } from '../chart/axis.js';
import { stepText } from '../order.js';

const rest = row => row.slice(row.length > 1 ? 1 : 0); /* without the first token, where attention rests */
const link = (live, more) => ({ view: 'inside', state: { text: SENTENCE, order: `0-${live.model.n_layers - 1}`, part: 'stream', ...more } });
const steps = r => r.steps.map((s, i) => [i, stepText(s)]);
const points = r => r.norm.map((_, p) => [p, p === 0 ? t('inside.embeddingShort') : stepText(r.steps[p - 1])]);
const norms = (r, width) => lines({ width, height: 280, zero: true, label: t('stream.norm'), series: [{ name: '', points: r.norm.map((row, p) => [p, mean(rest(row))]) }], x: { label: t('inside.pointLabel'), ticks: points(r) }, y: { label: t('stream.length') } });

export const streamTour = [
    {
        kind: 'read', name: 'adds',
        async show(live) {
            const s = Math.floor(live.model.n_layers / 2), position = 3 + (live.model.bos ? 1 : 0), a = await live.arithmetic(SENTENCE, { op: 'mlp_add', step: s, position, coordinate: 0 }).catch(() => null);
            const value = name => a?.scalars.find(x => x.name === name)?.value;
            return {
                values: {}, link: a && { view: 'inside', state: { text: SENTENCE, order: `0-${live.model.n_layers - 1}`, part: 'arithmetic', op: 'mlp_add', step: s, at: position, coord: 0 } },
                figure: a && (width => columns({ width: Math.min(width, 560), height: 220, label: t('stream.updates'), values: [{ label: t('tour.before'), value: value('before') }, { label: t('tour.added'), value: value('added') }, { label: t('tour.sum'), value: a.value }] })),
            };
        },
    },
    {
        kind: 'ask', name: 'grows', options: 3,
        async show(live) {
            const r = await live.stream(SENTENCE), first = mean(rest(r.norm[1])), last = mean(rest(r.norm[r.norm.length - 1])), ratio = last / first;
            return { right: ratio < 0.8 ? 0 : ratio > 1.25 ? 2 : 1, values: { first: number(first), end: number(last), ratio: fixed(ratio, 1) }, figure: width => norms(r, width), link: link(live) };
        },
    },
    {
        kind: 'ask', name: 'writers', options: 3,
        async show(live) {
            const r = await live.stream(SENTENCE), of = list => list.map(row => (row ? mean(rest(row)) : null)), attn = of(r.attn_update), mlp = of(r.mlp_update), a = mean(attn), m = mean(mlp);
            return {
                right: a > 1.15 * m ? 0 : m > 1.15 * a ? 1 : 2, values: { attn: number(a), mlp: number(m) }, link: link(live),
                figure: width => lines({ width, height: 290, zero: true, label: t('stream.updates'), series: [{ name: t('stream.attn'), points: attn.map((v, i) => [i, v]) }, { name: t('stream.mlp'), points: mlp.map((v, i) => [i, v]) }], x: { label: t('inside.stepLabel'), ticks: steps(r) }, y: { label: t('stream.length') } }),
            };
        },
    },
    {
        kind: 'ask', name: 'turns', options: 3,
        async show(live) {
            const r = await live.stream(SENTENCE), turn = r.cosine.map(row => 1 - mean(rest(row))), most = argmax(turn);
            return {
                right: live.third(most, turn.length), values: { layer: stepText(r.steps[most]), turn: fixed(turn[most], 2), least: fixed(Math.min(...turn), 3) }, link: link(live),
                figure: width => columns({ width, height: 240, label: t('stream.cosine'), values: turn.map((v, i) => ({ label: stepText(r.steps[i]), value: v, colour: '#0b5775' })), x: { label: t('inside.stepLabel') }, y: { label: t('curve.one_minus_cosine') } }),
            };
        },
    },
    {
        kind: 'ask', name: 'sink', options: 3,
        async show(live) {
            const r = await live.stream(SENTENCE), end = r.norm[Math.max(1, r.norm.length - 2)], first = end[0], others = mean(rest(end)), ratio = first / others;
            return {
                right: ratio > 1.25 ? 0 : ratio < 0.8 ? 2 : 1, values: { first: number(first), others: number(others), ratio: fixed(ratio, 1) }, link: link(live, { tok: 0 }),
                figure: width => columns({ width, height: 240, label: t('stream.norm'), values: end.map((v, i) => ({ label: live.shown(r.tokens[i].piece), value: v, colour: i ? '#0b5775' : '#b3541e' })), y: { label: t('stream.length') } }),
            };
        },
    },
];
