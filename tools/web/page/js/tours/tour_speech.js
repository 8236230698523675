/* tour_speech.js: parts of speech: words that carry content against words that hold the sentence together. The tags of these sentences are set by hand,
 * c (content: NOUN, PROPN, VERB, ADJ, NUM) or f (function: DET, ADP, AUX, CCONJ, PRON, PART, PUNCT), one letter a word. */
import { h } from '../dom.js';
import { t } from '../i18n.js';
import { mean } from './live.js';
import { columns } from '../chart/bars.js';
import { fixed } from '../chart/axis.js';
import { units, unitValue, shown } from '../views/tokens.js';

const texts = [
    ['The captain of the ship was born in London and moved to the United States .', 'fcffcfcfcfcffccf'],
    ['The first season of the show was released on the island in the summer .', 'fccffcfcffcffcf'],
    ['The river flows through the city and into the northern sea .', 'fccffcfffccf'],
];

/* Words with their class and value under an order: [{ text, kind, value }]. */
async function classed(live, order, of) {
    const out = [];
    for (const [text, kinds] of texts) {
        const r = await live.run(text, order), values = of(r);
        const words = units(r.tokens.map(x => (x.start === null ? '' : x.piece)), 'word').filter(w => w.text.trim() !== '');
        words.forEach((w, i) => out.push({ text: shown(w.text), kind: words.length === kinds.length ? kinds[i] : null, value: unitValue(w, values) }));
    }
    return out;
}
const halves = words => ['c', 'f'].map(kind => mean(words.filter(w => w.kind === kind).map(w => w.value)));
const figure = (c, f, label) => width => columns({ width: Math.min(width, 520), height: 230, label, values: [{ label: t('tour.content'), value: c }, { label: t('tour.function'), value: f }], y: { label } });
const judged = (c, f) => (Math.abs(c - f) < 0.1 * Math.max(Math.abs(c), Math.abs(f)) ? 2 : c > f ? 0 : 1);
const lab = (live, order) => ({ view: 'lab', state: { text: texts[0][0], order, tok: null, unit: 'word' } });

const ask = (name, layerOf) => ({
    kind: 'ask', name, options: 3,
    async show(live) {
        const layer = layerOf(live), order = live.without(layer), [c, f] = halves(await classed(live, order, r => r.delta_nll));
        return { right: judged(c, f), values: { layer, content: fixed(c, 3, true), function: fixed(f, 3, true) }, figure: figure(c, f, t('measure.delta')), link: lab(live, order) };
    },
});

export const speechTour = [
    {
        kind: 'read', name: 'tags',
        async show(live) {
            const words = await classed(live, '', r => r.variant.nll);
            return { values: {}, figure: () => h('div', {}, h('div', { class: 'flow' }, words.map(w => h('span', { class: w.kind === 'c' ? 'tok content' : 'tok' }, h('span', { class: 'piece' }, w.text), h('span', { class: 'val' }, w.value === null ? '·' : fixed(w.value, 1))))), h('p', { class: 'hint' }, t('tour.tagsKey'))) };
        },
    },
    {
        kind: 'ask', name: 'harder', options: 3,
        async show(live) {
            const [c, f] = halves(await classed(live, '', r => r.variant.nll));
            return { right: judged(c, f), values: { content: fixed(c, 2), function: fixed(f, 2) }, figure: figure(c, f, t('measure.nll')), link: lab(live, `0-${live.model.n_layers - 1}`) };
        },
    },
    ask('first', () => 0), ask('final', live => live.model.n_layers - 1),
    {
        kind: 'read', name: 'study',
        async show(live) {
            const result = (await live.results()).find(r => r.kind === 'orders' && r.has_pos && r.experiment === 'removal') || (await live.results()).find(r => r.kind === 'orders' && r.has_pos);
            if (!result) return { values: {}, figure: () => h('p', { class: 'notice' }, t('tags.none'), ' ', h('code', {}, 'strata pos results/removal/...')) };
            const pos = await live.api.file(`api/results/${result.id}/pos.json`), tags = pos.groups.find(g => g.by === 'upos').values.filter(v => v.is_ranked), last = pos.orders.length - 1;
            return { values: {}, figure: width => h('div', {}, h('p', { class: 'hint' }, t('tour.studyFigure', { order: pos.orders[last].name, id: result.id })), columns({ width, height: 260, label: t('tags.title'), values: tags.map(v => ({ label: v.value, value: v.orders[last].word_contrast, lo: v.orders[last].word_contrast_ci95?.[0], hi: v.orders[last].word_contrast_ci95?.[1] })), y: { label: t('unit.nats') } })), link: { view: 'orders', state: { res: result.id } } };
        },
    },
];
