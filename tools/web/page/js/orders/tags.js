/* tags.js: part of speech by order as a heat map: which words suffer from which layer. */
import { h, replace, select } from '../dom.js';
import { t } from '../i18n.js';
import { card } from '../card.js';
import { grid, legend } from '../chart/grid.js';
import { colourScale, extent, fontSize } from '../chart/theme.js';
import { fixed } from '../chart/axis.js';

const measures = {
    word_contrast: ['word_contrast_maxt95', 'word_contrast_ci95'],
    contrast: ['contrast_maxt95', 'contrast_ci95'],
    delta_word_nll: ['delta_word_nll_ci95', 'delta_word_nll_ci95'],
    delta_word_nll_corrected: ['delta_word_nll_corrected_ci95', 'delta_word_nll_corrected_ci95'],
    delta_nll: ['delta_nll_ci95', 'delta_nll_ci95'],
};

const shellWord = word => (/^[\w\-./:=,+@%]+$/.test(word) ? word : `'${word.replace(/'/g, "'\\''")}'`);

export function mountTags(root, { api, state, chosen, nameOf }) {
    let pos = null;
    const with_ = chosen.filter(r => r.has_pos);
    if (!with_.length) {
        root.append(h('section', { class: 'card', 'data-card': 'orders_tags' }, h('h3', {}, t('tags.title')), h('p', { class: 'notice' }, t('tags.none'), ' ', h('code', {}, `strata pos --model_name ${chosen[0] ? shellWord(`results/${chosen[0].id}`) : 'results/...'}`))));
        return {};
    }
    const result = () => with_.find(r => r.id === state.get('tags')) || with_[0];
    const measure = () => (state.get('tagmetric') in measures ? state.get('tagmetric') : 'word_contrast');
    const group = () => pos.groups.find(g => g.by === 'upos');
    const short = name => name.replace(/^[a-z-]+_/, '').replace(/_/g, '–');
    const isClear = (cell, key) => Array.isArray(cell[key]) && cell[key][0] !== null && (cell[key][0] > 0 || cell[key][1] < 0);
    const figure = card({
        name: 'orders_tags', title: t('tags.title'), wide: true,
        draw: width => {
            if (!pos) return null;
            const tags = group().values, key = measure();
            const scale = colourScale('change', extent(tags.filter(v => v.is_ranked).flatMap(v => v.orders.map(o => o[key])), 0.97), { root: true });
            return h('div', {}, grid({
                width, label: t('tags.title'), minCell: fontSize() * 2.8, rowNames: tags.map(v => v.value), colNames: pos.orders.map(o => short(o.name)), colLabel: t('orders.layer'), scale,
                cell: (r, c) => {
                    const o = tags[r].orders[c], ci = o[measures[key][1]], clear = isClear(o, measures[key][0]);
                    return { value: o[key], text: fixed(o[key], Math.abs(o[key]) < 9.95 ? 1 : 0), dim: !tags[r].is_ranked, mark: clear, title: `${tags[r].value} · ${pos.orders[c].name}: ${fixed(o[key], 3, true)}${ci ? ` [${fixed(ci[0], 3, true)}, ${fixed(ci[1], 3, true)}]` : ''} (n ${tags[r].n_words})` };
                },
                onpick: (r, c) => {
                    const v = tags[r].orders[c], ci = v[measures[key][1]];
                    told.textContent = `${tags[r].value} · ${pos.orders[c].name}: ${fixed(v[key], 3, true)}${ci?.every(Number.isFinite) ? ` [${fixed(ci[0], 3, true)}, ${fixed(ci[1], 3, true)}]` : ''} (n ${tags[r].n_words})`;
                    state.set({ under: pos.orders[c].name });
                },
            }), legend({ scale, text: t(`tagmetric.${key}`) }));
        },
        picture: () => figure.node.querySelector('.cardbody svg'),
        table: () => ({
            columns: ['tag', 'order', 'n_words', 'n_units', 'is_ranked', measure(), 'ci95_low', 'ci95_high', 'tagger_f1'],
            rows: group().values.flatMap(v => v.orders.map((o, i) => [v.value, pos.orders[i].name, v.n_words, v.n_units, v.is_ranked, o[measure()], o[measures[measure()][1]]?.[0], o[measures[measure()][1]]?.[1], pos.tags.f1?.[v.value]])),
        }),
    });
    const said = h('p', { class: 'hint' }), told = h('output', { class: 'told' });
    figure.node.querySelector('.cardbody').after(told, said);
    root.append(figure.node);
    async function load() {
        pos = await api.file(`api/results/${result().id}/pos.json`).catch(() => null);
        show();
    }
    function show() {
        figure.setControls(with_.length > 1 ? select(t('tags.of'), with_.map(r => [r.id, nameOf(r)]), result().id, v => state.set({ tags: v })) : null,
            select(t('orders.metric'), Object.keys(measures).map(k => [k, t(`tagmetric.${k}`)]), measure(), v => state.set({ tagmetric: v })));
        if (!pos) return;
        figure.hint(t('tags.hint', { words: pos.ranked.min_words, units: pos.ranked.min_units }));
        replace(said, t('tags.f1', { source: pos.tags.source, on: pos.tags.measured_on }), ' ', group().values.filter(v => pos.tags.f1?.[v.value]).map(v => `${v.value} ${pos.tags.f1[v.value].toFixed(2)}`).join(', '));
        figure.redraw();
    }
    load();
    return {
        change(keys) {
            if (keys.includes('tags')) load();
            else if (keys.includes('tagmetric')) show();
        },
    };
}
