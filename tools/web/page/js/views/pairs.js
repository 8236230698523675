/* pairs.js: the explorer of study B, sentence pairs that differ in one token. Two parts: one pair, checked and analysed live (pairs/pair.js), and
 * the results of strata diff (pairs/study.js with the table of its pairs). Owns the choice between them and which result is looked at. */
import { h, replace, choice, select } from '../dom.js';
import { t } from '../i18n.js';
import { complaint } from '../card.js';
import { mountPair } from '../pairs/pair.js';
import { mountStudy } from '../pairs/study.js';

export function mountPairs(root, { api, info, state }) {
    const head = h('div', { class: 'toolbar' }), problem = h('div'), body = h('div');
    let results = [], current = null;
    replace(root, h('h2', {}, t('pairs.title')), h('p', { class: 'hint' }, t('pairs.intro')), head, problem, body);
    const part = () => (['pair', 'study'].includes(state.get('bpart')) ? state.get('bpart') : info.live ? 'pair' : 'study');
    const result = () => results.find(r => r.id === state.get('diff')) || results[0] || null;

    function render() {
        current?.leave?.();
        replace(problem);
        replace(head,
            h('div', { class: 'tabs' }, choice(t('pairs.parts'), [['pair', t('pairs.pair')], ['study', t('pairs.study')]], part(), v => state.set({ bpart: v }, { push: true }))),
            results.length > 1 ? select(t('pairs.result'), results.map(r => [r.id, `${r.id} (${r.n_pairs})`]), result().id, v => state.set({ diff: v, cat: null, posn: null, stat: null, page: null }, { push: true })) : null);
        replace(body);
        const context = { api, info, state, result: result() };
        if (part() === 'pair') {
            if (info.live) current = mountPair(body, context);
            else replace(body, h('p', { class: 'notice' }, t('shell.needsProgram')));
        } else if (result()) {
            current = mountStudy(body, context);
        } else {
            replace(body, h('p', { class: 'notice' }, t('pairs.none')));
        }
    }
    async function load() {
        try {
            results = (await api.file('api/results.json')).results.filter(r => r.kind === 'diff');
        } catch (e) {
            replace(problem, complaint(e.message || t('error.network')));
        }
        render();
    }
    load();
    return {
        change(keys) {
            if (keys.includes('bpart') || keys.includes('diff')) render();
            else current?.change?.(keys);
        },
        leave: () => current?.leave?.(),
    };
}

export const fieldWords = () => ({ zoomIn: t('field.in'), zoomOut: t('field.out'), all: t('field.all') });

/* The part of a map that is looked at, in the address: c0,c1,r0,r1. */
export const zoomText = v => [v.c0, v.c1, v.r0, v.r1].map(x => Number(x.toFixed(2))).join(',');
export function zoomOf(text, rows, cols) {
    const n = text.split(',').map(Number);
    return n.length === 4 && n.every(Number.isFinite) && n[0] < n[1] && n[1] <= cols && n[2] < n[3] && n[3] <= rows ? { c0: n[0], c1: n[1], r0: n[2], r1: n[3] } : null;
}
