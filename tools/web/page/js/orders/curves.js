/* curves.js: a curve over the layers for every chosen result, with its bands. */
import { h, choice, select } from '../dom.js';
import { t } from '../i18n.js';
import { card } from '../card.js';
import { lines } from '../chart/lines.js';
import { number } from '../chart/axis.js';
import { depthOf } from '../views/orders.js';

const metrics = {
    delta_nll: { of: o => o.delta_nll, band: o => o.delta_nll_ci95, zero: true },
    delta_bpb: { of: (o, base) => (o.bits_per_byte === null ? null : o.bits_per_byte - base.bits_per_byte), zero: true },
    ppl: { of: o => o.ppl, intact: true },
    kl: { of: o => o.kl, zero: true },
    agreement: { of: o => o.agreement },
    top1_accuracy: { of: o => o.top1_accuracy, intact: true },
    block_influence: { layers: ppl => ppl.influence?.block_influence },
};

export function mountCurves(root, { state, chosen, nameOf }) {
    const metric = () => (state.get('metric') in metrics ? state.get('metric') : 'delta_nll');
    const relative = () => (state.get('axis') ? state.get('axis') === 'relative' : new Set(chosen.map(r => r.n_layers)).size > 1);
    const x = (r, v) => (relative() ? v / Math.max(1, r.n_layers - 1) : v);
    const points = r => {
        const m = metrics[metric()];
        if (m.layers) return (m.layers(r.ppl) || []).map((v, layer) => ({ name: `layer_${layer}`, at: x(r, layer), value: v, ci: null }));
        return r.ppl.orders.map((o, i) => ({ name: o.name, at: x(r, depthOf(o, i)), value: m.of(o, r.ppl.baseline), ci: m.band?.(o) ?? null })).sort((a, b) => a.at - b.at);
    };
    const table = () => ({
        columns: ['model', 'experiment', 'dataset', 'order', 'depth', metric(), 'ci95_low', 'ci95_high'],
        rows: chosen.flatMap(r => points(r).map(p => [r.model, r.experiment, r.dataset, p.name, p.at, p.value, p.ci?.[0], p.ci?.[1]])),
    });
    const figure = card({
        name: 'orders_curves', title: t('orders.curves'), wide: true, table,
        draw: width => {
            const layers = Math.max(...chosen.map(r => r.n_layers));
            const m = metrics[metric()];
            return h('div', {}, lines({
                width, height: 400, zero: m.zero, bend: state.get('bend') === 'root', label: t('orders.curves'),
                series: chosen.map(r => {
                    const list = points(r);
                    return { name: nameOf(r), points: list.map(p => [p.at, p.value]), band: list.filter(p => p.ci).map(p => [p.at, ...p.ci]) };
                }),
                x: relative() ? { label: t('orders.depth'), lo: -0.02, hi: 1.02 } : { label: t('orders.layer'), ticks: Array.from({ length: layers }, (_, l) => [l, String(l)]) },
                y: { label: t(`metric.${metric()}`) },
                onpick: at => {
                    const nearest = chosen.flatMap(r => points(r)).filter(p => p.at === at)[0];
                    told.textContent = chosen.flatMap(r => points(r).filter(p => p.at === at).map(p => `${nameOf(r)}, ${p.name}: ${number(p.value, 4)}${p.ci?.every(Number.isFinite) ? ` [${number(p.ci[0], 3)}, ${number(p.ci[1], 3)}]` : ''}`)).join(' · ');
                    if (nearest && !m.layers) state.set({ under: nearest.name });
                },
            }), m.intact ? h('p', { class: 'hint' }, chosen.map(r => `${nameOf(r)}: ${t('lab.intactWas', { v: m.of(r.ppl.baseline, r.ppl.baseline)?.toFixed(4) ?? '–' })}`).join(' · ')) : null);
        },
        picture: () => figure.node.querySelector('.cardbody svg'),
    });
    const told = h('output', { class: 'told' });
    figure.node.querySelector('.cardbody').after(told);
    root.append(figure.node);
    function show() {
        figure.setControls(select(t('orders.metric'), Object.keys(metrics).map(k => [k, t(`metric.${k}`)]), metric(), v => state.set({ metric: v })),
            choice(t('orders.axis'), [['absolute', t('orders.absolute')], ['relative', t('orders.relative')]], relative() ? 'relative' : 'absolute', v => state.set({ axis: v })),
            choice(t('orders.scale'), [['linear', t('orders.linear')], ['root', t('orders.root')]], state.get('bend') === 'root' ? 'root' : 'linear', v => state.set({ bend: v })));
        figure.hint(t(metric() === 'delta_nll' ? 'orders.bands' : metric() === 'block_influence' ? 'orders.influenceHint' : 'orders.curvesHint', { n: chosen[0].ppl.protocol?.n_units ?? '?', unit: chosen[0].ppl.protocol?.bootstrap_unit ?? '' }));
        figure.redraw();
    }
    show();
    return { change: keys => keys.some(k => ['metric', 'axis', 'bend'].includes(k)) && show() };
}
