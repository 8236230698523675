/* pair.js: one pair, entered by hand or taken from the table: checked (as many tokens, one of them different), and analysed on the live model: the
 * difference in the residual stream by layer and dimension, curves over the layers, the largest and smallest dimensions. Runs through the intact model or
 * through the order of the layer strip. */
import { h, replace, choice } from '../dom.js';
import { t } from '../i18n.js';
import { card, complaint } from '../card.js';
import { Superseded, matrix } from '../api.js';
import { field } from '../chart/field.js';
import { lines } from '../chart/lines.js';
import { rows } from '../chart/bars.js';
import { grid, legend } from '../chart/grid.js';
import { scatter } from '../chart/scatter.js';
import { colourScale, extent } from '../chart/theme.js';
import { stepText } from '../order.js';
import { shown } from '../views/tokens.js';
import { fieldWords, zoomText, zoomOf } from '../views/pairs.js';
import { mountAblation } from './ablation.js';
import { number } from '../chart/axis.js';

const RANKED = 15;
const EXAMPLE = ['The captain of the ship was very tired .', 'The captain of the ship is very tired .'];

export function mountPair(root, { api, info, state, result }) {
    let answer = null, maps = {}, sigma = null, map = null, mapKey = '', timer = null;
    const a = h('input', { type: 'text', id: 'pair-a', class: 'long', spellcheck: 'false', value: state.get('pa', EXAMPLE[0]), oninput: edited });
    const b = h('input', { type: 'text', id: 'pair-b', class: 'long', spellcheck: 'false', value: state.get('pb', EXAMPLE[1]), oninput: edited });
    const verdict = h('div', { class: 'verdict', 'aria-live': 'polite' }), under = h('div', { class: 'toolbar' }), tools = h('div', { class: 'toolbar' }), cards = h('div', { class: 'cards' }), ablation = h('div');
    replace(root, h('div', { class: 'pairform' }, h('label', { for: 'pair-a' }, 'A'), a, h('label', { for: 'pair-b' }, 'B'), b), under, verdict, tools, cards, ablation);

    const points = () => answer.points;
    const pointName = p => (p === 0 ? t('inside.embeddingShort') : stepText(answer.steps[p - 1]));
    const places = () => Object.keys(maps).filter(k => maps[k]);
    const place = () => (places().includes(state.get('place')) ? state.get('place') : 'last');
    const position = () => (place() === 'all' ? answer.positions.last : answer.positions[place()]);
    /* Sigmas are those of the intact model's points. */
    const normalised = () => state.get('norm') === 'sigma' && sigma && answer.intact;
    const order = () => (state.get('through') === 'strip' ? state.get('order') : '');
    const fp = () => Math.max(0, Math.min(points() - 1, state.number('fp', points() - 1)));
    const picked = () => state.get('dims').split(';').filter(Boolean).map(x => x.split('.').map(Number)).filter(x => x.length === 2 && x[0] < points() && x[1] < answer.d_model);
    /* |difference| or that over sigma, [points, D]. */
    function shownMatrix() {
        const m = maps[place()], values = Float32Array.from(m.values, Math.abs);
        if (normalised()) for (let i = 0; i < values.length; i++) values[i] /= sigma[i] || NaN;
        return { rows: m.rows, cols: m.cols, values };
    }
    const unit = () => t(normalised() ? 'pair.perSigma' : 'pair.raw');

    const heat = card({
        name: 'pair_map', title: t('pair.map'), hint: t('pair.mapHint'), wide: true,
        draw: width => {
            if (!answer) return null;
            const m = shownMatrix(), scale = colourScale('amount', extent(Array.from(m.values), 0.99), { root: true });
            const key = `${place()} ${normalised() ? 1 : 0} ${state.get('dims')}`;
            if (!map || mapKey !== key) {
                map = field({
                    m, scale, rowName: pointName, rowLabel: t('inside.pointLabel'), colLabel: t('pair.dimension'), height: Math.max(240, Math.min(520, points() * 22 + 50)), marks: picked(), words: fieldWords(), label: t('pair.map'),
                    picked: state.number('dim') === null ? null : [fp(), state.number('dim')], view: zoomOf(state.get('zoom'), m.rows, m.cols), onview: v => state.set({ zoom: zoomText(v) }), onpick: (r, c) => state.set({ fp: r, dim: c }),
                });
                map.scale = scale;
                mapKey = key;
            }
            map.redraw(width);
            map.box ??= h('div', {}, map.node, legend({ scale: map.scale, text: unit() }));
            return map.box;
        },
        picture: () => map.picture(),
        table: () => {
            const m = shownMatrix();
            return { columns: ['point', 'name', 'dimension', 'difference', 'shown'], rows: Array.from(m.values, (v, i) => [Math.floor(i / m.cols), pointName(Math.floor(i / m.cols)), i % m.cols, maps[place()].values[i], v]) };
        },
    });
    const curves = card({
        name: 'pair_curves', title: t('pair.curves'), hint: t('pair.curvesHint'),
        draw: width => answer && lines({
            width, height: 290, zero: true, cursor: fp(), label: t('pair.curves'), onpick: p => state.set({ fp: p }),
            series: [{ name: t('curve.relative_norm'), points: answer.relative.map((row, p) => [p, row[position()]]) }, { name: t('curve.one_minus_cosine'), points: answer.cosine.map((row, p) => [p, 1 - row[position()]]) }],
            x: { label: t('inside.pointLabel'), ticks: answer.norm.map((_, p) => [p, pointName(p)]) },
        }),
        table: () => ({ columns: ['point', 'name', 'position', 'norm', 'relative_norm', 'cosine', 'lens_kl'], rows: answer.norm.flatMap((row, p) => row.map((v, i) => [p, pointName(p), i, v, answer.relative[p][i], answer.cosine[p][i], answer.kl[p]])) }),
    });
    const lensKl = card({
        name: 'pair_kl', title: t('pair.kl'), hint: t('pair.klHint'),
        draw: width => answer && lines({ width, height: 290, zero: true, cursor: fp(), label: t('pair.kl'), series: [{ name: '', points: answer.kl.map((v, p) => [p, v]) }], x: { label: t('inside.pointLabel'), ticks: answer.kl.map((_, p) => [p, pointName(p)]) }, y: { label: t('unit.nats') } }),
        table: () => ({ columns: ['point', 'name', 'kl'], rows: answer.kl.map((v, p) => [p, pointName(p), v]) }),
    });
    const spread = card({
        name: 'pair_tokens', title: t('pair.spread'), hint: t('pair.spreadHint'), wide: true,
        draw: width => {
            if (!answer) return null;
            const scale = colourScale('amount', extent(answer.relative.flat(), 1), { root: true });
            return h('div', {}, grid({ width, minCell: 44, label: t('pair.spread'), rowNames: answer.norm.map((_, p) => pointName(p)), colNames: answer.tokens_a.map((x, i) => (i === answer.edit ? `${shown(x.piece)}/${shown(answer.tokens_b[i].piece)}` : shown(x.piece))), rowLabel: t('inside.pointLabel'), scale, cell: (p, i) => ({ value: answer.relative[p][i], text: number(answer.relative[p][i], 2) }), onpick: p => state.set({ fp: p }) }),
                legend({ scale, text: t('curve.relative_norm') }));
        },
        picture: () => spread.node.querySelector('.cardbody svg'),
        table: () => ({ columns: ['point', 'position', 'token_a', 'token_b', 'norm', 'relative_norm'], rows: answer.norm.flatMap((row, p) => row.map((v, i) => [p, i, answer.tokens_a[i].piece, answer.tokens_b[i].piece, v, answer.relative[p][i]])) }),
    });
    const rankOf = least => {
        const m = shownMatrix();
        return Array.from(m.values.subarray(fp() * m.cols, (fp() + 1) * m.cols), (v, d) => [d, v]).filter(x => Number.isFinite(x[1])).sort((x, y) => (least ? x[1] - y[1] : y[1] - x[1]));
    };
    const least = () => state.get('rank') === 'least';
    const ranking = card({
        name: 'pair_ranking', title: t('pair.ranking'),
        draw: width => answer && rows({ width, label: t('pair.ranking'), values: rankOf(least()).slice(0, RANKED).map(([d, v]) => ({ label: String(d), value: v, mark: picked().some(x => x[0] === fp() && x[1] === d) })), onpick: i => state.set({ dim: rankOf(least())[i][0] }) }),
        table: () => ({ columns: ['rank', 'point', 'dimension', 'value'], rows: rankOf(least()).map(([d, v], i) => [i + 1, fp(), d, v]) }),
    });
    const cloud = card({
        name: 'pair_scatter', title: t('pair.scatter'), hint: t('pair.scatterHint'),
        draw: width => {
            if (!answer || !maps.edited || !maps.last) return null;
            const cols = answer.d_model, at = fp() * cols, value = (m, d) => Math.abs(m.values[at + d]) / (normalised() ? sigma[at + d] : 1);
            return scatter({ width, height: 330, log: true, diagonal: true, label: t('pair.scatter'), points: Array.from({ length: cols }, (_, d) => ({ x: value(maps.edited, d), y: value(maps.last, d), name: String(d), mark: d === state.number('dim') || picked().some(x => x[0] === fp() && x[1] === d) })), x: { label: `${t('place.edited')}: ${unit()}` }, y: { label: `${t('place.last')}: ${unit()}` }, onpick: p => state.set({ dim: Number(p.name) }) });
        },
        table: () => ({ columns: ['dimension', 'edited', 'last'], rows: Array.from({ length: answer.d_model }, (_, d) => [d, maps.edited.values[fp() * answer.d_model + d], maps.last.values[fp() * answer.d_model + d]]) }),
    });
    cards.append(heat.node, ranking.node, cloud.node, curves.node, lensKl.node, spread.node);
    const ablate = mountAblation(ablation, { api, state, result, getPair: () => ({ a: a.value, b: b.value, order: order(), answer, fp: answer ? fp() : 0, picked: answer ? picked() : [], rank: () => rankOf(true), pointName }) });

    function drawUnder() {
        const strip = state.get('order'), spec = strip || t('lab.intact');
        replace(under, h('span', { class: 'label' }, t('pair.under')), choice(t('pair.under'), [['intact', t('cand.intact')], ['strip', t('pair.underStrip')]], order() ? 'strip' : 'intact', v => state.set({ through: v === 'strip' ? v : null, dims: null, zoom: null, fp: null }, { push: true })),
            h('code', { class: 'spec' }, order() ? spec : `0-${info.model.n_layers - 1}`), h('a', { href: state.address('lab') }, t('inside.changeOrder')));
    }
    function edited() {
        clearTimeout(timer);
        timer = setTimeout(() => state.set({ pa: a.value, pb: b.value, dims: null }), 250);
    }
    function tokensOf(tokens, differs, name) {
        return h('p', { class: 'pairtokens' }, h('strong', {}, name), ' ', tokens.map((x, i) => h('span', { class: differs.includes(i) ? 'ptok differs' : 'ptok' }, shown(x.piece))));
    }
    function show() {
        const ok = answer?.ok;
        cards.hidden = tools.hidden = ablation.hidden = !ok;
        if (!ok) return;
        replace(tools, choice(t('pair.place'), places().map(k => [k, t(`place.${k}`)]), place(), v => state.set({ place: v })),
            sigma && answer.intact ? choice(t('pair.unit'), [['raw', t('pair.rawShort')], ['sigma', t('pair.sigmaShort')]], normalised() ? 'sigma' : 'raw', v => state.set({ norm: v })) : null);
        ranking.setControls(choice(t('pair.rank'), [['most', t('pair.most')], ['least', t('pair.least')]], least() ? 'least' : 'most', v => state.set({ rank: v })));
        ranking.hint(t('pair.rankHint', { point: pointName(fp()), place: t(`place.${place()}`), unit: unit() }));
        [heat, curves, lensKl, spread, ranking, cloud].forEach(c => c.redraw());
    }
    async function load() {
        drawUnder();
        if (!a.value.trim() || !b.value.trim()) return;
        try {
            answer = await api.live('pair', { a: a.value, b: b.value, order: order() }, 'pair');
        } catch (e) {
            if (!(e instanceof Superseded)) replace(verdict, complaint(e.message || t('error.network')));
            return;
        }
        const differs = answer.ok ? [answer.edit] : answer.differs || [];
        replace(verdict, answer.ok ? h('p', { class: 'good' }, t('pair.ok', { position: answer.edit, x: shown(answer.tokens_a[answer.edit].piece), y: shown(answer.tokens_b[answer.edit].piece) })) : complaint(t('pair.notOne', { reason: answer.reason })),
            tokensOf(answer.tokens_a, differs, 'A'), tokensOf(answer.tokens_b, differs, 'B'),
            answer.ok && answer.edit === (info.model.bos ? 1 : 0) ? h('p', { class: 'notice' }, t('pair.sink')) : null);
        map = null;
        if (answer.ok) maps = Object.fromEntries(Object.entries(answer.difference).map(([k, m]) => [k, matrix(m)]));
        show();
        ablate.change();
    }
    async function start() {
        if (result?.has_maps) {
            const values = await api.file(`api/results/${result.id}/maps/sigma.f32`).catch(() => null);
            if (values && values.length === (info.model.n_layers + 1) * info.model.d_model) sigma = values;
        }
        state.set({ pa: a.value, pb: b.value });
        load();
    }
    start();
    return {
        change(keys) {
            if (keys.some(k => ['pa', 'pb', 'through', 'order'].includes(k))) {
                if (a.value !== state.get('pa')) a.value = state.get('pa');
                if (b.value !== state.get('pb')) b.value = state.get('pb');
                load();
            } else if (keys.some(k => ['place', 'norm', 'fp', 'rank', 'dims', 'dim'].includes(k))) {
                show();
                if (keys.some(k => ['dims', 'dim', 'fp'].includes(k))) ablate.change();
            } else if (keys.includes('mode')) ablate.change();
        },
        leave: () => clearTimeout(timer),
    };
}
