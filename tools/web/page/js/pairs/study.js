/* study.js: a result of strata diff: maps layer by dimension, curves of categories with their controls, the ranked dimensions, the scatter of mean
 * against spread, and the table of pairs. All from its files. What the numbers stand up to is in findings.js. */
import { h, replace, select } from '../dom.js';
import { t } from '../i18n.js';
import { card, complaint } from '../card.js';
import { field } from '../chart/field.js';
import { lines } from '../chart/lines.js';
import { rows } from '../chart/bars.js';
import { legend } from '../chart/grid.js';
import { scatter } from '../chart/scatter.js';
import { colourScale, extent, series as colours, soft } from '../chart/theme.js';
import { fieldWords, zoomText, zoomOf } from '../views/pairs.js';
import { modelName } from '../model_name.js';
import { number } from '../chart/axis.js';
import { mountTable } from './table.js';
import { mountFindings } from './findings.js';

const RANKED = 20;
/* Where less than 1 is "changes less than the control": shown around 1, blue below. */
const AROUND_ONE = new Set(['ratio', 'upper']);

export function mountStudy(root, { api, info, state, result }) {
    let diff = null, maps = [], values = null, map = null;
    const problem = h('div'), overview = h('div'), tools = h('div', { class: 'toolbar' }), cards = h('div', { class: 'cards' }), checks = h('div'), table = h('div');
    replace(root, problem, overview, tools, checks, cards, table);

    const category = () => diff.categories.find(c => c.name === state.get('cat')) || diff.categories[0];
    const position = () => category().positions.find(p => p.name === state.get('posn')) || category().positions.find(p => p.name === 'last') || category().positions[0];
    const cats = () => {
        const asked = state.get('cats').split(';').filter(name => diff.categories.some(c => c.name === name));
        return asked.length ? asked : [category().name];
    };
    /* Maps of this category and place, by statistic; those of one point alone are left out. */
    const statsThere = () => {
        const ending = `.${category().name}.${position().name}`;
        return maps.filter(m => m.shape.length === 2 && m.name.endsWith(ending)).map(m => m.name.split('.')[0]);
    };
    const stat = () => {
        const there = statsThere();
        return [state.get('stat'), 'ratio'].find(s => there.includes(s)) ?? there[0];
    };
    const name = kind => `${kind}.${category().name}.${position().name}`;
    const shape = () => {
        const wanted = name(stat());
        return maps.find(m => m.name === wanted).shape;
    };
    const curveNames = () => [...new Set(diff.categories.flatMap(c => c.positions.flatMap(p => Object.keys(p.curves))))];
    const curve = () => (curveNames().includes(state.get('curve')) ? state.get('curve') : curveNames()[0]);
    const pointName = p => (p === 0 ? t('inside.embeddingShort') : p > diff.n_layers ? t('study.finalNorm') : String(p - 1));
    const load = kind => api.file(`api/results/${result.id}/maps/${name(kind)}.f32`);

    const heat = card({
        name: 'diff_map', title: t('study.map'), wide: true,
        draw: width => {
            if (!values) return null;
            const [nr, nc] = shape(), around = AROUND_ONE.has(stat());
            if (!map) {
                const v = around ? Float32Array.from(values, x => x - 1) : values;
                const scale = colourScale(around ? 'change' : 'amount', around ? Math.max(0.3, extent(Array.from(v), 0.98)) : extent(Array.from(v), 0.99), { root: !around });
                const shifted = around ? Object.assign(x => scale(x - 1), { kind: 'change', max: scale.max }) : scale;
                const claims = claimed().slice(0, 300).map(x => [x.layer, x.dim]);
                map = field({ m: { rows: nr, cols: nc, values }, scale: shifted, rowName: pointName, rowLabel: t('inside.pointLabel'), colLabel: t('pair.dimension'), height: Math.max(260, Math.min(560, nr * 22 + 50)), marks: claims, words: fieldWords(), label: t('study.map'), view: zoomOf(state.get('zoom'), nr, nc), onview: v2 => state.set({ zoom: zoomText(v2) }), onpick: (r, c) => state.set({ fp: r, dim: c }), picked: state.number('dim') === null ? null : [Math.min(nr - 1, state.number('fp', 0)), state.number('dim')] });
                map.box = h('div', {}, map.node, legend({ scale, text: around ? t('study.minusOne', { stat: t(`stat.${stat()}`) }) : statName(stat()) }));
            }
            map.redraw(width);
            return map.box;
        },
        picture: () => map.picture(),
        table: () => {
            const cols = shape()[1];
            return { columns: ['point', 'dimension', stat()], rows: Array.from(values, (v, i) => [Math.floor(i / cols), i % cols, v]) };
        },
    });
    const statName = s => (t(`stat.${s}`) === `stat.${s}` ? s : t(`stat.${s}`));
    const curves = card({
        name: 'diff_curves', title: t('study.curves'), wide: true,
        draw: width => {
            const lists = diff ? chosenCurves() : [];
            if (!lists.length) return null;
            const ratio = state.get('as') !== 'mean' && lists.some(x => x.c.ratio?.some(Number.isFinite));
            const series = lists.flatMap((x, i) => (ratio
                ? [{ name: x.category, colour: colours[i % colours.length], points: (x.c.ratio || []).map((v, p) => [p, v]), band: x.c.lo && x.c.hi ? x.c.lo.map((lo, p) => [p, lo, x.c.hi[p]]) : [] }]
                : [{ name: x.category, colour: colours[i % colours.length], dash: '', points: x.c.pairs.map((v, p) => [p, v]) }, { name: `${x.category}: ${t('study.control')}`, colour: colours[i % colours.length], dash: '3 4', points: (x.c.control || []).map((v, p) => [p, v]) },
                    ...(lists.length === 1 && x.c.shuffled ? [{ name: t('study.shuffled'), colour: soft, dash: '1 3', points: x.c.shuffled.map((v, p) => [p, v]) }] : [])]));
            if (ratio) series.push({ name: t('study.one'), colour: soft, dash: '2 3', thin: true, points: [[0, 1], [lists[0].c.pairs.length - 1, 1]] });
            return lines({ width, height: 380, zero: !ratio, label: t('study.curves'), series, x: { label: t('inside.pointLabel'), ticks: lists[0].c.pairs.map((_, p) => [p, pointName(p)]) }, y: { label: ratio ? t('study.ratioOf', { curve: curveName(curve()) }) : curveName(curve()) } });
        },
        table: () => ({ columns: ['category', 'position', 'curve', 'point', 'pairs', 'control', 'ratio', 'ratio_low', 'ratio_high'], rows: chosenCurves().flatMap(x => x.c.pairs.map((v, p) => [x.category, position().name, curve(), p, v, x.c.control?.[p], x.c.ratio?.[p], x.c.lo?.[p], x.c.hi?.[p]])) }),
    });
    const contrastOf = () => (diff?.contrast || []).find(c => c.position === position().name && c.curve === curve());
    const contrast = card({
        name: 'diff_contrast', title: t('study.contrast'), hint: t('study.contrastHint'), wide: true, empty: t('study.noContrast'),
        draw: width => {
            const c = contrastOf();
            return c && lines({
                width, height: 280, zero: true, label: t('study.contrast'), series: [{ name: '', points: c.difference.map((v, p) => [p, v]), band: c.lo.map((lo, p) => [p, lo, c.hi[p]]) }],
                x: { label: t('inside.pointLabel'), ticks: c.difference.map((_, p) => [p, pointName(p)]) }, y: { label: t('study.contrastAxis') },
            });
        },
        table: () => ({ columns: ['position', 'curve', 'point', 'difference', 'lo', 'hi', 'p'], rows: (contrastOf()?.difference || []).map((v, p) => [position().name, curve(), p, v, contrastOf().lo[p], contrastOf().hi[p], contrastOf().p[p]]) }),
    });
    const curveName = c => (t(`curve.${c}`) === `curve.${c}` ? c : t(`curve.${c}`));
    const chosenCurves = () => cats().map(n => ({ category: n, c: diff.categories.find(c => c.name === n)?.positions.find(p => p.name === position().name)?.curves[curve()] })).filter(x => x.c);
    const ranked = () => (diff ? position().ranked || [] : []).slice(0, RANKED);
    const ranking = card({
        name: 'diff_ranking', title: t('study.ranking'), hint: t('study.rankingHint'), empty: t('study.noRanking'),
        draw: width => ranked().length > 0 && rows({ width, label: t('study.ranking'), values: ranked().map(x => ({ label: `${pointName(x.layer)}·${x.dim}`, value: x.ratio ?? x.mean, hi: x.upper, lo: x.ratio, mark: x.claim })), onpick: i => state.set({ fp: ranked()[i].layer, dim: ranked()[i].dim }) }),
        table: () => ({ columns: ['point', 'dimension', 'mean', 'control', 'ratio', 'upper', 'p', 'half_ratio_0', 'half_ratio_1', 'claim'], rows: (position().ranked || []).map(x => [x.layer, x.dim, x.mean, x.control, x.ratio, x.upper, x.p, x.half_ratio?.[0], x.half_ratio?.[1], x.claim]) }),
    });
    let clouds = null;
    const cloud = card({
        name: 'diff_scatter', title: t('study.scatter'), hint: t('study.scatterHint'), empty: t('study.noScatter'),
        draw: width => {
            if (!clouds) return null;
            const nc = shape()[1], here = fp(), at = here * nc, marked = new Set(claimed().filter(x => x.layer === here).map(x => x.dim));
            return scatter({ width, height: 400, log: true, label: t('study.scatter'), points: Array.from({ length: nc }, (_, d) => ({ x: clouds.mean[at + d], y: clouds.sd[at + d], name: String(d), mark: marked.has(d) || d === state.number('dim') })), x: { label: statName('mean') }, y: { label: statName('sd') }, onpick: p => state.set({ dim: Number(p.name) }) });
        },
        table: () => {
            const cols = shape()[1];
            return { columns: ['point', 'dimension', 'mean', 'sd'], rows: Array.from(clouds.mean, (v, i) => [Math.floor(i / cols), i % cols, v, clouds.sd[i]]) };
        },
    });
    const claimed = () => (position().claims?.length ? position().claims : (position().ranked || []).filter(x => x.claim));
    const fp = () => Math.max(0, Math.min((maps.length ? shape()[0] : 1) - 1, state.number('fp', diff.n_layers)));
    let findings = null;
    cards.append(heat.node, curves.node, contrast.node, ranking.node, cloud.node);

    function drawOverview() {
        const c = category(), p = position();
        replace(overview, h('p', { class: 'hint' }, `${modelName(diff.model)} · ${diff.n_pairs ?? result.n_pairs} ${t('study.pairs')}`), h('p', { class: c.scope === 'category' ? 'good' : 'notice' }, t(`scope.${c.scope || 'none'}`, { category: c.name, templates: c.n_templates ?? '–', words: c.n_word_pairs ?? '–', claims: p.n_claims ?? 0, pairs: p.n_pairs ?? '–' })));
    }
    function drawTools() {
        replace(tools, select(t('study.category'), diff.categories.map(c => [c.name, `${c.name} (${c.n_pairs})`]), category().name, v => state.set({ cat: v })), select(t('pair.place'), category().positions.map(p => [p.name, placeName(p.name)]), position().name, v => state.set({ posn: v })));
        heat.setControls(statsThere().length ? select(t('study.stat'), statsThere().map(s => [s, statName(s)]), stat(), v => state.set({ stat: v })) : null);
        curves.setControls(select(t('study.curve'), curveNames().map(c => [c, curveName(c)]), curve(), v => state.set({ curve: v })),
            select(t('study.as'), [['ratio', t('study.asRatio')], ['mean', t('study.asMean')]], state.get('as') === 'mean' ? 'mean' : 'ratio', v => state.set({ as: v })),
            h('details', { class: 'menu' }, h('summary', {}, t('study.overlay')), diff.categories.map(c => h('label', { class: 'pick' }, h('input', { type: 'checkbox', checked: cats().includes(c.name), onchange: e => state.set({ cats: (e.target.checked ? [...cats(), c.name] : cats().filter(n => n !== c.name)).join(';') }) }), c.name))));
        heat.hint(t(AROUND_ONE.has(stat()) ? 'study.ratioHint' : 'study.mapHint'));
    }
    const placeName = p => (t(`place.${p}`) === `place.${p}` ? p : t(`place.${p}`));
    async function show() {
        drawOverview();
        drawTools();
        findings ??= mountFindings(checks, { state, getDiff: () => diff, getCategory: category, getPosition: position, pointName });
        findings.show();
        map = null;
        values = clouds = null;
        if (stat()) {
            const wanted = name(stat());
            const [v, mean, sd] = await Promise.all([load(stat()), ...['mean', 'sd'].map(k => (statsThere().includes(k) ? load(k) : null))]).catch(e => {
                replace(problem, complaint(e.message));
                return [];
            });
            if (wanted !== name(stat())) return;
            values = v ?? null;
            clouds = mean && sd ? { mean, sd } : null;
        }
        [heat, curves, contrast, ranking, cloud].forEach(c => c.redraw());
    }
    let pairs = null;
    async function start() {
        try {
            diff = await api.file(`api/results/${result.id}/diff.json`);
            maps = result.has_maps ? (await api.file(`api/results/${result.id}/maps.json`)).maps : [];
        } catch (e) {
            replace(problem, complaint(e.message || t('error.network')));
            return;
        }
        await show();
        if (result.has_pairs) pairs = mountTable(table, { api, info, state, result });
    }
    start();
    return {
        change(keys) {
            if (!diff) return;
            if (keys.some(k => ['cat', 'posn', 'stat'].includes(k))) show();
            if (keys.some(k => ['curve', 'as', 'cats'].includes(k))) {
                drawTools();
                curves.redraw();
                contrast.redraw();
            }
            if (keys.some(k => ['fp', 'dim'].includes(k))) cloud.redraw();
            pairs?.change(keys);
        },
    };
}
