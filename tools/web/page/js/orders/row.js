/* row.js: any row of the data, its tokens coloured by what an order did to them, with a scrubber over the orders. */
import { h, replace, select, choice } from '../dom.js';
import { t } from '../i18n.js';
import { card } from '../card.js';
import { legend } from '../chart/grid.js';
import { colourScale } from '../chart/theme.js';
import { fixed } from '../chart/axis.js';
import { tokenFlow, tokenPicture } from '../views/tokens.js';

export function mountRow(root, { api, state, chosen, nameOf }) {
    const with_ = chosen.filter(r => r.has_tokens !== false);
    if (!with_.length) return {};
    let windows = [], listed = null, row = null, unit = 'token', search = '';
    const result = () => with_.find(r => r.id === state.get('tags')) || with_[0];
    const list = h('select', { size: 6, class: 'windows', 'aria-label': t('row.list'), onchange: () => state.set({ win: Number(list.value) }) });
    const find = h('input', { type: 'search', placeholder: t('row.search'), 'aria-label': t('row.search'), oninput: () => { search = find.value.toLowerCase(); drawList(); } });
    const slider = h('input', { type: 'range', id: 'under', min: 1, max: 1, step: 1, oninput: () => row && state.set({ under: row.orders[Number(slider.value)] }) });
    const where = h('output', { for: 'under', class: 'where' });
    const scale = colourScale('change', 6, { root: true });
    const format = v => fixed(v, 2, true);
    const win = () => (windows.some(w => w.window === state.number('win')) ? state.number('win') : (windows.find(w => w.kind === 'body' && w.n_tokens > 30) || windows[0])?.window ?? 0);
    const under = () => Math.max(1, row.orders.indexOf(state.get('under')));
    /* The text before the first predicted token comes first, without a value. */
    function pieces() {
        const bytes = new TextEncoder().encode(row.text), decoder = new TextDecoder(), from = row.first_byte || 0;
        const cut = (a, b) => decoder.decode(bytes.subarray(a, b));
        const head = row.start.length && row.start[0] > from ? [cut(from, row.start[0])] : [];
        return { names: [...head, ...row.start.map((a, i) => cut(a, row.end[i]))], shift: head.length };
    }
    const delta = () => row.nll[under()].map((v, i) => (v === null || row.nll[0][i] === null ? null : v - row.nll[0][i]));
    const figure = card({
        name: 'orders_row', title: t('row.title'), hint: t('row.hint'), wide: true,
        draw: () => row && h('div', {}, flow(), legend({ scale, text: t('measure.delta') })),
        picture: () => {
            const { names, shift } = pieces();
            return tokenPicture({ width: 900, pieces: names, values: [...new Array(shift).fill(null), ...delta()], scale, format, unit, title: `${nameOf(result())} · ${row.orders[under()]}`, lines: [t('measure.delta')] });
        },
        table: () => {
            const { names, shift } = pieces();
            return { columns: ['token', 'id', 'piece', 'start', 'end', 'nll_intact', ...row.orders.slice(1).map(o => `nll_${o}`)], rows: row.ids.map((id, i) => [i, id, names[i + shift], row.start[i], row.end[i], ...row.nll.map(o => o[i])]) };
        },
    });
    const flow = () => {
        const { names, shift } = pieces();
        return tokenFlow({ pieces: names, values: [...new Array(shift).fill(null), ...delta()], scale, format, unit, label: t('row.title') });
    };
    const head = h('div', { class: 'rowhead' }, h('div', {}, find, list), h('div', { class: 'under' }, h('div', { class: 'scrubhead' }, h('label', { for: 'under' }, t('row.under')), where), slider, h('p', { class: 'hint' })));
    figure.node.querySelector('.cardbody').before(head);
    root.append(figure.node);

    function drawList() {
        replace(list, windows.filter(w => !search || w.text.toLowerCase().includes(search)).map(w => h('option', { value: w.window }, `${w.window}: ${w.text.trim().slice(0, 90)} (${w.n_tokens})`)));
        list.value = String(win());
    }
    function show() {
        figure.setControls(with_.length > 1 ? select(t('tags.of'), with_.map(r => [r.id, nameOf(r)]), result().id, v => state.set({ tags: v })) : null,
            choice(t('lab.unit'), [['token', t('lab.token')], ['word', t('lab.word')]], unit, u => { unit = u; show(); }));
        if (!row) return;
        slider.max = row.orders.length - 1;
        slider.value = under();
        slider.setAttribute('aria-valuetext', row.orders[under()]);
        where.textContent = row.orders[under()];
        const there = delta().filter(v => v !== null);
        head.querySelector('.hint').textContent = t('row.mean', { mean: fixed(there.reduce((a, b) => a + b, 0) / Math.max(1, there.length), 3, true), n: there.length });
        figure.redraw();
    }
    async function load() {
        try {
            if (listed !== result().id) { /* thousands of rows are not listed anew for another row */
                windows = (await api.file(`api/results/${result().id}/windows.json`)).windows;
                listed = result().id;
                drawList();
            }
            list.value = String(win());
            row = await api.file(`api/results/${result().id}/tokens/${win()}.json`);
        } catch (e) {
            row = null;
            figure.hint(e.message);
        }
        show();
    }
    load();
    return {
        change(keys) {
            if (keys.includes('win') || keys.includes('tags')) load();
            else if (keys.includes('under')) show();
        },
    };
}
