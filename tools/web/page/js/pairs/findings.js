/* findings.js: what a result of strata diff holds against its own claims, in plain words: for one category and place the checks one below the other, each
 * with its numbers and what they mean; and all categories side by side. Every field may be absent: then its check is left out. */
import { h, replace } from '../dom.js';
import { t } from '../i18n.js';
import { card } from '../card.js';
import { exportAs } from '../export.js';
import { lines } from '../chart/lines.js';
import { soft, worse } from '../chart/theme.js';
import { fixed, number } from '../chart/axis.js';

const LEVEL = 0.05;
const whole = v => (Number.isFinite(v) ? Math.round(v).toLocaleString('en-US') : '–');
const present = v => v !== null && v !== undefined && Number.isFinite(v);
const mean = list => {
    const there = (list || []).filter(present);
    return there.length ? there.reduce((a, b) => a + b, 0) / there.length : null;
};
const share = (part, of) => (present(part) && of > 0 ? `${number((100 * part) / of, 3)} %` : '–');
const signed = v => `${fixed(v, 1, true)} %`;

/* The count in the model's own axes against that in random ones. */
function rotation(p, n) {
    const r = (p.rotation || [])[n];
    return r && present(r.count) ? r : null;
}
export const verdictOf = r => (r.p_more <= LEVEL ? 'more' : r.p_fewer <= LEVEL ? 'fewer' : 'alike');

/* What replacing the claimed dimensions does, in per cent of the area and in nats, beside sets of random dimensions. */
export function ablationOf(a) {
    /* Against the same dimensions in the intact model, those that were left alone; older results have all of them. */
    const area = (v, before) => (present(v) && (before || a.area_intact) ? 100 * (v / (before || a.area_intact) - 1) : null);
    const random = a.area_random || [], losses = a.loss_edited_random || [], before = a.area_random_before || [];
    return {
        n: a.n_dims, layer: a.layer, position: a.position, sets: random.length, same: random.length > 1 && random.every(v => v === random[0]),
        area: area(a.area_claimed, a.area_claimed_before), areaRandom: mean(random.map((v, i) => area(v, before[i]))), loss: a.loss_edited_claimed - a.loss_edited_intact, lossRandom: mean(losses) === null ? null : mean(losses) - a.loss_edited_intact,
        beyond: losses.length > 0 && losses.every(v => a.loss_edited_claimed > v), areaP: a.area_p, lossP: a.loss_edited_p,
    };
}

/* The checks of one category at one place: { key, numbers, means } in words. */
export function checksOf(diff, c, p) {
    const out = [], cells = (p.claims_per_layer || []).length * diff.hidden;
    const add = (key, numbers, verdict, values = {}) => out.push({ key, question: t(`check.${key}`), numbers, means: t(`check.${key}.${verdict}`, values) });
    if (present(c.pair_distance) && present(c.control_distance)) add('control', t('check.control.numbers', { pair: fixed(c.pair_distance, 3), control: fixed(c.control_distance, 3) }), c.control_is_far ? 'far' : 'near');
    if (present(p.n_claims)) add('claims', t('check.claims.numbers', { n: whole(p.n_claims), of: whole(cells), share: share(p.n_claims, cells) }), p.n_claims ? 'some' : 'none');
    const stable = rotation(p, 0), small = rotation(p, 1);
    const against = r => t('check.rotation.numbers', { count: whole(r.count), mean: whole(r.mean), least: whole(r.least), most: whole(r.most), n: r.n });
    if (stable) add('rotation', against(stable), verdictOf(stable));
    if (p.crossfit && present(p.crossfit.scored_ratio)) {
        const x = p.crossfit;
        add('crossfit', t('check.crossfit.numbers', { chosen: fixed(x.chosen_ratio, 3), scored: fixed(x.scored_ratio, 3), below: x.n_bound_below, n: x.n_chosen }), x.n_bound_below * 2 >= x.n_chosen ? 'holds' : 'fades');
    }
    const w = mean(p.kendall_w), control = mean(p.kendall_w_control);
    if (present(w) && present(control)) add('kendall', t('check.kendall.numbers', { w: fixed(w, 2), control: fixed(control, 2) }), w > control ? 'more' : 'less');
    const margins = (p.margins || []).filter(m => present(m.n_rejected));
    if (margins.length) {
        const at = x => margins.find(m => Math.abs(m.margin - x) < 1e-9);
        const told = [0.1, 0.25, 0.5].map(at).filter(Boolean).map(m => t('check.equivalence.at', { margin: number(m.margin, 2), n: whole(m.n_rejected) })).join(t('check.equivalence.join'));
        add('equivalence', small ? `${told} ${t('check.equivalence.control', { numbers: against(small) })}` : told, !small ? 'alone' : verdictOf(small));
    }
    const mine = (diff.ablation || []).filter(a => a.category === c.name);
    for (const a of mine.map(ablationOf)) {
        const ps = present(a.lossP) ? t('check.ablation.p', { area: number(a.areaP, 2), loss: number(a.lossP, 2) }) : '';
        add('ablation', t('check.ablation.numbers', { n: a.n, layer: a.layer === 0 ? t('inside.embeddingShort') : a.layer - 1, area: signed(a.area), areaRandom: signed(a.areaRandom), loss: fixed(a.loss, 3, true), lossRandom: fixed(a.lossRandom, 3, true), sets: a.same ? 1 : a.sets }) + ps, a.beyond && !a.same ? 'beyond' : a.same ? 'same' : 'alike');
    }
    if (!mine.length && diff.ablation) add('ablation', '–', 'none');
    return out;
}

/* Every category at the place `place`, as a row. */
export function summaryOf(diff, place) {
    return {
        columns: ['category', 'kind', 'n_pairs', 'scope', 'control_is_far', 'n_claims', 'axes_ratio', 'axes_random_mean', 'axes_p_more', 'crossfit_chosen', 'crossfit_scored', 'kendall_w', 'kendall_w_control', 'equivalent_half_sigma', 'ablation_loss', 'ablation_loss_random'],
        rows: diff.categories.flatMap(c => {
            const p = c.positions.find(x => x.name === place);
            if (!p) return [];
            const r = rotation(p, 0), a = (diff.ablation || []).filter(x => x.category === c.name).map(ablationOf)[0];
            return [[c.name, c.kind, c.n_pairs, p.scope ?? c.scope, c.control_is_far, p.n_claims, r?.count, r?.mean, r?.p_more, p.crossfit?.chosen_ratio, p.crossfit?.scored_ratio, mean(p.kendall_w), mean(p.kendall_w_control), (p.margins || []).find(m => m.margin === 0.5)?.n_rejected, a?.loss, a?.lossRandom]];
        }),
    };
}

export function mountFindings(root, { state, getDiff, getCategory, getPosition, pointName }) {
    const checks = h('div', { class: 'scroll' }, ''), lead = h('p', { class: 'hint' }), all = h('div', { class: 'scroll' });
    const exportButtons = (name, table) => h('div', { class: 'exports' }, h('span', { class: 'label' }, t('export.label')), ['csv', 'json'].map(kind => h('button', { type: 'button', class: 'mini', 'data-export': kind, onclick: () => exportAs(kind, name, { table }) }, kind.toUpperCase())));
    const byLayer = card({
        name: 'diff_claims_layers', title: t('check.byLayer'), hint: t('check.byLayerHint'), empty: t('check.nothing'),
        draw: width => {
            const counts = getDiff() && getPosition().claims_per_layer;
            return counts && lines({ width, height: 280, zero: true, label: t('check.byLayer'), series: [{ name: '', points: counts.map((v, i) => [i, v]) }], x: { label: t('inside.pointLabel'), ticks: counts.map((_, i) => [i, pointName(i)]) }, y: { label: t('check.nClaims'), lo: 0, hi: 1.05 * Math.max(1, ...counts) } });
        },
        table: () => ({ columns: ['point', 'n_claims'], rows: getPosition().claims_per_layer.map((v, i) => [i, v]) }),
    });
    const kendall = card({
        name: 'diff_kendall', title: t('check.kendallTitle'), hint: t('check.kendallHint'), empty: t('check.nothing'),
        draw: width => {
            const p = getDiff() && getPosition();
            if (!p?.kendall_w?.some(present)) return null;
            return lines({ width, height: 280, zero: true, label: t('check.kendallTitle'), series: [{ name: t('check.pairs'), colour: worse, points: p.kendall_w.map((v, i) => [i, v]) }, { name: t('study.control'), colour: soft, points: (p.kendall_w_control || []).map((v, i) => [i, v]) }], x: { label: t('inside.pointLabel'), ticks: p.kendall_w.map((_, i) => [i, pointName(i)]) }, y: { label: 'W' } });
        },
        table: () => ({ columns: ['point', 'kendall_w', 'kendall_w_control'], rows: getPosition().kendall_w.map((v, i) => [i, v, getPosition().kendall_w_control?.[i]]) }),
    });
    replace(root,
        h('section', { class: 'card', 'data-card': 'diff_checks' }, h('h3', {}, t('check.title')), lead, checks, exportButtons('strata_diff_checks', () => ({ columns: ['check', 'numbers', 'meaning'], rows: checksOf(getDiff(), getCategory(), getPosition()).map(x => [x.question, x.numbers, x.means]) }))),
        h('div', { class: 'cards' }, byLayer.node, kendall.node),
        h('section', { class: 'card', 'data-card': 'diff_summary' }, h('h3', {}, t('check.all')), h('p', { class: 'hint' }, t('check.allHint')), all, exportButtons('strata_diff_summary', () => summaryOf(getDiff(), getPosition().name))));

    function drawSummary(diff, place) {
        const { rows } = summaryOf(diff, place), chosen = getCategory().name;
        const heads = ['category', 'kind', 'pairs', 'about', 'claims', 'axes', 'crossfit', 'kendall', 'equivalent', 'ablation'];
        const arrow = (a, b, show) => (present(a) && present(b) ? `${show(a)} / ${show(b)}` : '–');
        replace(all, h('table', { class: 'summary' }, h('thead', {}, h('tr', {}, heads.map(x => h('th', { class: ['category', 'kind', 'about'].includes(x) ? null : 'n' }, t(`check.head.${x}`))))),
            h('tbody', {}, rows.map(([name, kind, n, scope, far, claims, count, random, , picked, scored, w, wControl, half, loss, lossRandom]) => h('tr', { 'aria-selected': name === chosen ? 'true' : 'false' },
                h('td', {}, h('button', { type: 'button', class: 'mini', 'data-category': name, onclick: () => state.set({ cat: name }, { push: true }) }, name)), h('td', {}, t(`check.kind.${kind}`)), h('td', { class: 'n' }, whole(n)), h('td', {}, far ? t('check.farShort') : t(`check.scope.${scope || 'none'}`)), h('td', { class: 'n' }, whole(claims)),
                h('td', { class: 'n' }, arrow(count, random, whole)), h('td', { class: 'n' }, arrow(picked, scored, v => fixed(v, 2))), h('td', { class: 'n' }, arrow(w, wControl, v => fixed(v, 2))), h('td', { class: 'n' }, whole(half)), h('td', { class: 'n' }, arrow(loss, lossRandom, v => fixed(v, 2, true))))))));
    }
    return {
        show() {
            const diff = getDiff(), c = getCategory(), p = getPosition(), list = checksOf(diff, c, p);
            const floor = Math.max(...Object.values(diff.floors || {}).flatMap(f => f.largest || []).filter(present));
            replace(lead, t('check.lead', { category: c.name, place: t(`place.${p.name}`) }), diff.fdr ? ` ${t('check.fdr', { claims: whole(diff.fdr.n_claims), tested: whole(diff.fdr.n_tested), level: 100 * diff.fdr.level })}` : '', Number.isFinite(floor) ? ` ${t('check.floor', { floor: number(floor, 2) })}` : '');
            replace(checks, list.length ? h('dl', { class: 'checks' }, list.map(x => h('div', { 'data-check': x.key }, h('dt', {}, x.question), h('dd', { class: 'figures' }, x.numbers), h('dd', {}, x.means)))) : h('p', { class: 'empty' }, t('check.nothing')));
            drawSummary(diff, p.name);
            byLayer.redraw();
            kendall.redraw();
        },
    };
}
