/* stream.js: lengths of the residual stream over its points, what attention and MLP add to it, and how far each step turns it. */
import { replace, h, select } from '../dom.js';
import { t } from '../i18n.js';
import { card } from '../card.js';
import { lines } from '../chart/lines.js';
import { stepText } from '../order.js';

export function mountStream(root, { ask, state, pointShort, tokenNames, token }) {
    let answer = null;
    const tools = h('div', { class: 'toolbar' });
    const tok = () => token(answer, answer.tokens.length - 1);
    const mean = row => row.slice(row.length > 1 ? 1 : 0).filter(v => v !== null).reduce((s, v, _, all) => s + v / all.length, 0);
    const points = () => answer.norm.map((_, p) => [p, pointShort(answer, p)]);
    const steps = () => answer.steps.map((s, i) => [i, stepText(s)]);
    const perPoint = () => ({
        columns: ['point', 'name', ...answer.tokens.map((x, i) => `norm_${i}`)], rows: answer.norm.map((row, p) => [p, pointShort(answer, p), ...row]),
    });
    const perStep = () => ({
        columns: ['step', 'layer', 'part', 'position', 'token', 'mid', 'attn_update', 'mlp_update', 'cosine'],
        rows: answer.steps.flatMap((s, i) => answer.tokens.map((x, j) => [i, s.layer, s.part, j, x.piece, answer.mid[i]?.[j], answer.attn_update[i]?.[j], answer.mlp_update[i]?.[j], answer.cosine[i][j]])),
    });
    const norms = card({
        name: 'stream_norm', title: t('stream.norm'), hint: t('stream.normHint'), table: perPoint,
        draw: width => answer && lines({
            width, height: 300, zero: true, label: t('stream.norm'), x: { label: t('inside.pointLabel'), ticks: points() }, y: { label: t('stream.length') },
            series: [{ name: tokenNames(answer)[tok()], points: answer.norm.map((row, p) => [p, row[tok()]]) }, { name: t('stream.mean'), points: answer.norm.map((row, p) => [p, mean(row)]) }],
        }),
    });
    const updates = card({
        name: 'stream_updates', title: t('stream.updates'), hint: t('stream.updatesHint'), table: perStep,
        draw: width => answer && answer.steps.length > 0 && lines({
            width, height: 300, zero: true, label: t('stream.updates'), x: { label: t('inside.stepLabel'), ticks: steps() }, y: { label: t('stream.length') },
            series: [{ name: t('stream.attn'), points: answer.steps.map((_, s) => [s, answer.attn_update[s]?.[tok()] ?? null]) }, { name: t('stream.mlp'), points: answer.steps.map((_, s) => [s, answer.mlp_update[s]?.[tok()] ?? null]) }],
        }),
    });
    const turns = card({
        name: 'stream_cosine', title: t('stream.cosine'), hint: t('stream.cosineHint'), table: perStep,
        draw: width => answer && answer.steps.length > 0 && lines({
            width, height: 300, label: t('stream.cosine'), x: { label: t('inside.stepLabel'), ticks: steps() }, y: { label: t('stream.cosineAxis') },
            series: [{ name: tokenNames(answer)[tok()], points: answer.steps.map((_, s) => [s, answer.cosine[s][tok()]]) }, { name: t('stream.mean'), points: answer.steps.map((_, s) => [s, mean(answer.cosine[s])]) }],
        }),
    });
    replace(root, tools, h('div', { class: 'cards' }, norms.node, updates.node, turns.node));

    function show() {
        if (!answer) return;
        replace(tools, select(t('inside.token'), tokenNames(answer).map((n, i) => [String(i), n]), String(tok()), v => state.set({ tok: Number(v) })));
        [norms, updates, turns].forEach(c => c.redraw());
    }
    async function load() {
        const got = await ask('stream');
        if (got) {
            answer = got;
            show();
        }
    }
    load();
    return {
        change(keys) {
            if (keys.includes('text')) load();
            else if (keys.includes('tok')) show();
        },
    };
}
