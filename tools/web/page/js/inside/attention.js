/* attention.js: the attention patterns of a step: every head small, one large; and where the chosen query looks. */
import { h, replace } from '../dom.js';
import { t } from '../i18n.js';
import { card } from '../card.js';
import { field } from '../chart/field.js';
import { rows } from '../chart/bars.js';
import { legend } from '../chart/grid.js';
import { colourScale } from '../chart/theme.js';
import { matrix } from '../api.js';
import { stepText } from '../order.js';
import { percent } from '../chart/axis.js';
import { shown } from '../views/tokens.js';

const SMALL_PX = 92;
const TOP_KEYS = 10;

export function mountAttention(root, { ask, info, state, tokenNames, token }) {
    let answer = null, patterns = null;
    const scale = colourScale('amount', 1, { root: true });
    const nSteps = () => answer?.steps.length ?? info.model.n_layers;
    const step = () => Math.max(0, Math.min(nSteps() - 1, state.number('step', 0)));
    const head = () => Math.max(0, Math.min((answer?.heads.length ?? 1) - 1, state.number('head', 0)));
    const tok = () => token(answer, answer.tokens.length - 1);
    const slider = h('input', { type: 'range', id: 'step', min: 0, max: Math.max(0, nSteps() - 1), step: 1, oninput: () => state.set({ step: Number(slider.value) }) });
    const where = h('output', { for: 'step', class: 'where' });
    const heads = h('div', { class: 'heads', role: 'listbox', 'aria-label': t('attn.heads') });
    const one = h_ => ({ rows: answer.tokens.length, cols: answer.tokens.length, values: patterns.values.subarray(h_ * answer.tokens.length ** 2, (h_ + 1) * answer.tokens.length ** 2) });

    let map = null, mapOf = null; /* the field stays while the same head is shown, so that it keeps focus and zoom */
    const large = card({
        name: 'attention', title: t('attn.large'), hint: t('attn.largeHint'),
        draw: width => {
            if (!answer) return null;
            if (mapOf !== head()) {
                mapOf = head();
                map = field({
                    m: one(head()), scale, rowName: r => shown(answer.tokens[r].piece), colName: c => shown(answer.tokens[c].piece), rowLabel: t('attn.query'), colLabel: t('attn.key'), square: true, height: 420,
                    picked: [tok(), Math.min(state.number('key', tok()), answer.tokens.length - 1)], label: t('attn.large'), words: { zoomIn: t('field.in'), zoomOut: t('field.out'), all: t('field.all') },
                    onpick: (q, k) => state.set({ tok: q, key: k }),
                });
                map.box = h('div', {}, map.node, legend({ scale, text: t('attn.weight') }));
            }
            map.redraw(width);
            return map.box;
        },
        picture: () => map.picture(),
        table: () => ({
            columns: ['head', 'query', 'query_token', 'key', 'key_token', 'weight'],
            rows: answer.heads.flatMap((_, i) => answer.tokens.flatMap((q, r) => answer.tokens.slice(0, r + 1).map((k, c) => [answer.heads[i], r, q.piece, c, k.piece, one(i).values[r * answer.tokens.length + c]]))),
        }),
    });
    const looks = card({
        name: 'attention_row', title: t('attn.looks'), hint: t('attn.looksHint'),
        draw: width => answer && rows({ width, max: 1, text: percent, label: t('attn.looks'), values: strongest().map(([k, w]) => ({ label: tokenNames(answer)[k], value: w })) }),
        table: () => ({ columns: ['key', 'token', 'weight'], rows: strongest().map(([k, w]) => [k, answer.tokens[k].piece, w]) }),
    });
    const strongest = () => {
        const m = one(head());
        return Array.from(m.values.subarray(tok() * m.cols, tok() * m.cols + tok() + 1), (w, k) => [k, w]).sort((a, b) => b[1] - a[1]).slice(0, TOP_KEYS);
    };
    replace(root, h('section', { class: 'scrub' }, h('div', { class: 'scrubhead' }, h('label', { for: 'step' }, t('attn.step')), where), slider),
        h('p', { class: 'hint' }, t('attn.headsHint')), heads, h('div', { class: 'cards' }, large.node, looks.node));

    function small(i) {
        const n = answer.tokens.length, m = one(i);
        const canvas = h('canvas', { width: n, height: n, style: { width: `${SMALL_PX}px`, height: `${SMALL_PX}px` } });
        const g = canvas.getContext('2d'), image = g.createImageData(n, n);
        for (let c = 0; c < n * n; c++) image.data.set([...scale(m.values[c]).rgb, 255], 4 * c);
        g.putImageData(image, 0, 0);
        return h('button', { type: 'button', class: 'headbox', role: 'option', 'aria-selected': i === head() ? 'true' : 'false', 'aria-label': t('attn.head', { n: answer.heads[i] }), onclick: () => state.set({ head: i }) },
            canvas, h('span', {}, t('attn.head', { n: answer.heads[i] })));
    }
    function show() {
        slider.max = Math.max(0, nSteps() - 1);
        slider.value = step();
        if (!answer) return;
        const s = answer.steps[answer.step];
        where.textContent = t('attn.where', { step: answer.step, layer: stepText(s) }) + (answer.window ? ` · ${t('attn.window', { n: answer.window })}` : '');
        slider.setAttribute('aria-valuetext', where.textContent);
        replace(heads, answer.heads.map((_, i) => small(i)));
        large.redraw();
        looks.redraw();
    }
    async function load() {
        const got = await ask('attention', { step: step() });
        if (got) {
            answer = got;
            patterns = matrix(got.pattern);
            mapOf = null;
            show();
        }
    }
    load();
    return {
        change(keys) {
            if (keys.includes('text') || keys.includes('step')) load();
            else if (keys.includes('head') || keys.includes('tok')) show();
        },
    };
}
