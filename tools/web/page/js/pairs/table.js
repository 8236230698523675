/* table.js: the pairs of a result of strata diff, with filters; choosing one opens it in the live analysis. */
import { h, replace, select } from '../dom.js';
import { t } from '../i18n.js';
import { complaint } from '../card.js';
import { exportAs } from '../export.js';

const PER_PAGE = 20;

export function mountTable(root, { api, info, state, result }) {
    let all = [];
    const tools = h('div', { class: 'toolbar' }), body = h('div', { class: 'scroll' }), pager = h('div', { class: 'toolbar' });
    const search = h('input', { type: 'search', placeholder: t('table.search'), 'aria-label': t('table.search'), value: state.get('q'), oninput: () => state.set({ q: search.value, page: null }) });
    const exports = h('div', { class: 'exports' }, h('span', { class: 'label' }, t('export.label')), ['csv', 'json'].map(kind => h('button', { type: 'button', class: 'mini', 'data-export': kind, onclick: () => exportAs(kind, 'strata_pairs', { table }) }, kind.toUpperCase())));
    replace(root, h('section', { class: 'card', 'data-card': 'pairs' }, h('h3', {}, t('table.title')), h('p', { class: 'hint' }, t('table.hint')), tools, body, pager, exports));

    /* The same filters as the API's query, on the list that is here already: an export has no server to ask. */
    function matching() {
        const q = state.get('q').toLowerCase(), category = state.get('tcat'), template = state.get('tpl'), err = state.get('err');
        return all.filter(p => (!category || p.category === category) && (!template || p.template === template) && (!err || (p.error_side ?? 'none') === err) && (!q || p.a.toLowerCase().includes(q) || p.b.toLowerCase().includes(q)));
    }
    const table = () => ({ columns: ['index', 'category', 'template', 'a', 'b', 'x', 'y', 'edit_index', 'onset_index', 'error_side', 'n_tokens'], rows: matching().map(p => [p.index, p.category, p.template, p.a, p.b, p.words?.[0], p.words?.[1], p.edit_index, p.onset_index, p.error_side, p.n_tokens]) });
    const unique = key => [...new Set(all.map(p => p[key]))].sort();
    /* The sentence with its edited word marked: what is left and right of it is alike in both. */
    function marked(text, other) {
        let left = 0, right = 0;
        while (left < Math.min(text.length, other.length) && text[left] === other[left]) left++;
        while (right < Math.min(text.length, other.length) - left && text[text.length - 1 - right] === other[other.length - 1 - right]) right++;
        // Whole words: was and is share their s.
        while (left > 0 && text[left - 1] !== ' ') left--;
        while (right > 0 && text[text.length - right] !== ' ') right--;
        return [text.slice(0, left), h('mark', {}, text.slice(left, text.length - right)), text.slice(text.length - right)];
    }
    function show() {
        const any = [['', t('table.any')]];
        replace(tools, search, select(t('study.category'), [...any, ...unique('category').map(c => [c, c])], state.get('tcat'), v => state.set({ tcat: v, tpl: null, page: null })),
            select(t('table.template'), [...any, ...[...new Set(all.filter(p => !state.get('tcat') || p.category === state.get('tcat')).map(p => p.template))].sort().map(c => [c, c])], state.get('tpl'), v => state.set({ tpl: v, page: null })),
            select(t('table.error'), [...any, ['a', 'A'], ['b', 'B'], ['none', t('table.noError')]], state.get('err'), v => state.set({ err: v, page: null })));
        const list = matching(), pages = Math.max(1, Math.ceil(list.length / PER_PAGE)), page = Math.max(0, Math.min(pages - 1, state.number('page', 0)));
        replace(body, h('table', { class: 'pairs' }, h('thead', {}, h('tr', {}, ['#', t('study.category'), 'A', 'B', t('table.error'), ''].map(x => h('th', {}, x)))),
            h('tbody', {}, list.slice(page * PER_PAGE, (page + 1) * PER_PAGE).map(p => h('tr', {}, h('td', { class: 'n' }, p.index), h('td', {}, p.category), h('td', { class: p.error_side === 'a' ? 'wrong' : null }, p.error_side === 'a' ? '* ' : '', marked(p.a, p.b)), h('td', { class: p.error_side === 'b' ? 'wrong' : null }, p.error_side === 'b' ? '* ' : '', marked(p.b, p.a)), h('td', {}, p.error_side ? p.error_side.toUpperCase() : '–'),
                h('td', {}, info.live ? h('button', { type: 'button', class: 'mini', 'data-pair': p.index, onclick: () => { state.set({ pa: p.a, pb: p.b, dims: null, dim: null, zoom: null, bpart: 'pair' }, { push: true }); window.scrollTo(0, 0); } }, t('table.open')) : null))))));
        replace(pager, h('button', { type: 'button', class: 'mini', disabled: page === 0, onclick: () => state.set({ page: page - 1 }) }, '←'), h('span', { class: 'label' }, t('table.page', { page: page + 1, pages, n: list.length, all: all.length })), h('button', { type: 'button', class: 'mini', disabled: page + 1 >= pages, onclick: () => state.set({ page: page + 1 }) }, '→'));
    }
    api.file(`api/results/${result.id}/pairs.json`).then(answer => {
        all = answer.pairs;
        show();
    }, e => replace(root, complaint(e.message || t('error.network'))));
    return { change: keys => all.length && keys.some(k => ['q', 'tcat', 'tpl', 'err', 'page'].includes(k)) && show() };
}
