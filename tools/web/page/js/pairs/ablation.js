/* ablation.js: dimensions of the residual stream picked from a pair's map and replaced, live: what becomes of the difference between the two
 * sentences and of their losses. */
import { h, replace, choice } from '../dom.js';
import { t } from '../i18n.js';
import { card, complaint } from '../card.js';
import { Superseded } from '../api.js';
import { lines } from '../chart/lines.js';
import { columns } from '../chart/bars.js';
import { shown } from '../views/tokens.js';
import { fixed, number, percent } from '../chart/axis.js';

const MANY = 10;
const SHOWN_CHIPS = 24;

export function mountAblation(root, { api, state, result, getPair }) {
    let answer = null;
    const tools = h('div', { class: 'toolbar' }), chips = h('div', { class: 'chips' }), problem = h('div'), said = h('div', { class: 'ablated' });
    const curve = card({
        name: 'ablation_curve', title: t('ablate.curve'), hint: t('ablate.curveHint'),
        draw: width => answer?.pair && lines({
            width, height: 280, zero: true, label: t('ablate.curve'), series: [{ name: t('ablate.before'), points: answer.pair.norm.map((v, p) => [p, v]) }, { name: t('ablate.after'), points: answer.pair.norm_ablated.map((v, p) => [p, v]) }],
            x: { label: t('inside.pointLabel'), ticks: answer.pair.norm.map((_, p) => [p, getPair().pointName(p)]) }, y: { label: t('ablate.norm') },
        }),
        table: () => ({ columns: ['point', 'norm', 'norm_ablated'], rows: answer.pair.norm.map((v, p) => [p, v, answer.pair.norm_ablated[p]]) }),
    });
    const losses = card({
        name: 'ablation_loss', title: t('ablate.loss'), hint: t('ablate.lossHint'),
        draw: width => answer && columns({ width, height: 280, label: t('ablate.loss'), values: answer.tokens.map((x, i) => ({ label: shown(x.piece), value: answer.nll[i] === null || answer.nll_ablated[i] === null ? null : answer.nll_ablated[i] - answer.nll[i] })), y: { label: t('measure.delta.short') } }),
        table: () => ({ columns: ['token', 'piece', 'nll', 'nll_ablated'], rows: answer.tokens.map((x, i) => [i, x.piece, answer.nll[i], answer.nll_ablated[i]]) }),
    });
    const figures = h('div', { class: 'cards' }, curve.node, losses.node);
    replace(root, h('section', { class: 'card', 'data-card': 'ablation' }, h('h3', {}, t('ablate.title')), h('p', { class: 'hint' }, t('ablate.hint')), tools, chips, problem, said), figures);

    const mode = () => (['zero', 'mean', 'swap'].includes(state.get('mode')) ? state.get('mode') : 'zero');
    const text = dims => dims.map(d => d.join('.')).join(';');
    const setDims = dims => {
        const seen = new Set();
        state.set({ dims: text(dims.filter(d => !seen.has(d.join('.')) && seen.add(d.join('.'))).slice(0, 400)) }, { push: true });
    };
    function draw() {
        const p = getPair();
        if (!p.answer?.ok) return;
        const dim = state.number('dim'), add = list => setDims([...p.picked, ...list.map(d => [p.fp, d])]);
        const ranked = p.rank().map(x => x[0]);
        const random = () => ranked.map(d => [Math.random(), d]).sort((x, y) => x[0] - y[0]).slice(0, MANY).map(x => x[1]);
        const button = (label, name, fn, disabled = false) => h('button', { type: 'button', class: 'mini', 'data-ablate': name, disabled, onclick: fn }, label);
        replace(tools,
            button(dim === null ? t('ablate.addNone') : t('ablate.add', { dim, point: p.pointName(p.fp) }), 'add', () => add([dim]), dim === null),
            button(t('ablate.smallest', { n: MANY }), 'smallest', () => add(ranked.slice(0, MANY))), button(t('ablate.largest', { n: MANY }), 'largest', () => add(ranked.slice(-MANY))), button(t('ablate.random', { n: MANY }), 'random', () => add(random())),
            button(t('ablate.clear'), 'clear', () => setDims([]), !p.picked.length),
            choice(t('ablate.mode'), [['zero', t('ablate.zero')], ['mean', t('ablate.mean')], ['swap', t('ablate.swap')]], mode(), v => state.set({ mode: v })));
        replace(chips, p.picked.slice(0, SHOWN_CHIPS).map(d => h('button', { type: 'button', class: 'mini', 'aria-label': t('ablate.drop', { point: p.pointName(d[0]), dim: d[1] }), onclick: () => setDims(p.picked.filter(x => x !== d)) }, `${p.pointName(d[0])}·${d[1]} ×`)),
            p.picked.length > SHOWN_CHIPS ? h('span', { class: 'label' }, `+ ${p.picked.length - SHOWN_CHIPS}`) : null);
    }
    /* Means of a corpus lie in the files of a diff result, if at all. */
    async function hasCorpusMean() {
        if (!result?.has_maps) return false;
        return api.file(`api/results/${result.id}/maps.json`).then(list => list.maps.some(m => m.name === 'corpus_mean'), () => false);
    }
    async function change() {
        const p = getPair();
        draw();
        figures.hidden = true;
        if (!p.answer?.ok || !p.picked.length) {
            answer = null;
            replace(said);
            replace(problem);
            return;
        }
        try {
            const body = { a: p.a, b: p.b, order: p.order, dims: p.picked, mode: mode() };
            if (mode() === 'mean' && p.answer.intact && await hasCorpusMean()) body.result = result.id;
            answer = await api.live('ablate', body, 'ablate');
            replace(problem);
        } catch (e) {
            if (!(e instanceof Superseded)) replace(problem, complaint(e.message || t('error.network')));
            return;
        }
        figures.hidden = false;
        const mean = list => list.filter(v => v !== null).reduce((s, v, _, all) => s + v / all.length, 0);
        const first = n => (n?.ids ? `${shown(answer.pieces[n.ids[0]] ?? '')} ${percent(n.p[0])}` : '–');
        replace(said, h('p', {}, t('ablate.result', {
            before: fixed(mean(answer.nll), 3), after: fixed(mean(answer.nll_ablated), 3), areaBefore: number(answer.pair?.area), areaAfter: number(answer.pair?.area_ablated), nextBefore: first(answer.next), nextAfter: first(answer.next_ablated),
        })), answer.mean_source ? h('p', { class: 'hint' }, t(`ablate.source.${answer.mean_source}`)) : null);
        curve.redraw();
        losses.redraw();
    }
    return { change };
}
