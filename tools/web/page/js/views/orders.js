/* orders.js: the explorer of study A: results of sweeps laid over each other, the change by part of speech, and any row's tokens under any order. Owns
 * which results are chosen and loaded; curves.js, tags.js and row.js draw. */
import { h, replace } from '../dom.js';
import { t } from '../i18n.js';
import { complaint } from '../card.js';
import { modelName } from '../model_name.js';
import { mountCurves } from '../orders/curves.js';
import { mountTags } from '../orders/tags.js';
import { mountRow } from '../orders/row.js';

const MOST = 8; /* results at once */

export function mountOrders(root, { api, info, state }) {
    const picker = h('fieldset', { class: 'picker' }), problem = h('div'), body = h('div');
    let found = [], chosen = [];
    replace(root, h('h2', {}, t('orders.title')), h('p', { class: 'hint' }, t('orders.intro')), picker, problem, body);

    const asked = () => state.get('res').split(';').filter(Boolean);
    /* What the address names and is there; without one, the first removal, else the first of all. */
    function chosenIds() {
        const ids = asked().filter(id => found.some(r => r.id === id)).slice(0, MOST);
        if (ids.length || !found.length) return ids;
        return [(found.find(r => r.experiment === 'removal') || found[0]).id];
    }
    function drawPicker() {
        const ids = chosenIds();
        replace(picker, h('legend', { class: 'label' }, t('orders.results')), found.map(r => h('label', { class: 'pick' },
            h('input', {
                type: 'checkbox', checked: ids.includes(r.id), value: r.id,
                onchange: e => {
                    const next = e.target.checked ? [...ids, r.id].slice(-MOST) : ids.filter(id => id !== r.id);
                    if (next.length) state.set({ res: next.join(';') }, { push: true });
                    else e.target.checked = true;
                },
            }), h('span', {}, h('strong', {}, r.experiment), ` ${modelName(r.model)} · ${r.dataset} · n ${r.n_samples}`, h('span', { class: 'was' }, t('orders.about', { layers: r.n_layers, ppl: r.ppl === null ? '–' : r.ppl.toFixed(2) }))))),
        info.live && !info.limits?.read_only ? h('button', { type: 'button', class: 'mini', onclick: rescan }, t('orders.rescan')) : null);
    }
    async function rescan() {
        try {
            await api.post('rescan', {});
            api.forget();
            load();
        } catch (e) {
            replace(problem, complaint(e.message || t('error.network')));
        }
    }
    let parts = [];
    async function load() {
        try {
            found = (await api.file('api/results.json')).results.filter(r => r.kind === 'orders');
        } catch (e) {
            replace(problem, complaint(e.message || t('error.network')));
            return;
        }
        drawPicker();
        if (!found.length) {
            picker.hidden = true;
            replace(problem, h('p', { class: 'notice' }, t('orders.none')));
            return;
        }
        const ids = chosenIds();
        try {
            chosen = await Promise.all(ids.map(async id => ({ ...found.find(r => r.id === id), ppl: await api.file(`api/results/${id}/ppl.json`) })));
        } catch (e) {
            replace(problem, complaint(e.message || t('error.network')));
            return;
        }
        replace(problem, notices());
        const context = { api, state, chosen, nameOf };
        replace(body);
        parts = [mountCurves(body, context), mountTags(body, context), mountRow(body, context)];
    }
    /* As short as it can be and still tell them apart. */
    function nameOf(r) {
        const short = modelName(r.model);
        const several = key => new Set(chosen.map(c => c[key])).size > 1;
        return [short, several('experiment') && r.experiment, several('dataset') && r.dataset, several('n_samples') && `n ${r.n_samples}`].filter(Boolean).join(' · ');
    }
    function notices() {
        const differ = key => new Set(chosen.map(r => r.ppl.protocol?.hashes?.[key] ?? r.id)).size > 1;
        if (chosen.length < 2) return null;
        return [differ('rows_sha256') && t('orders.otherRows'), !differ('rows_sha256') && differ('ids_sha256') && t('orders.otherTokens')].filter(Boolean).map(text => h('p', { class: 'notice' }, text));
    }
    load();
    return {
        change(keys) {
            if (keys.includes('res')) load();
            else parts.forEach(part => part.change?.(keys));
        },
    };
}

/* Where an order stands on the axis of depth: the mean of the layers in its name (exchange_3_4 is 3.5); without one, its place in the list. */
export function depthOf(order, index) {
    const numbers = (/_(\d+(?:_(?:by_)?\d+)*)(?:_|$)/.exec(order.name)?.[1] ?? '').split(/_(?:by_)?/).filter(Boolean).map(Number);
    return numbers.length ? numbers.reduce((a, b) => a + b, 0) / numbers.length : index;
}
