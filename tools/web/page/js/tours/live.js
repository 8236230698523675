/* live.js: what the tours ask of the program, each answer asked for once; and the words that their texts share. The sentences are plain English of the
 * kind that small models know. */
import { intact, formatOrder } from '../order.js';
import { shown } from '../views/tokens.js';

export const SENTENCE = 'The captain of the ship was born in London and moved to the United States .';

export function createLive({ api, info }) {
    const model = info.model, known = new Map();
    const once = (key, make) => {
        if (!known.has(key)) {
            const promise = make();
            promise.catch(() => known.delete(key));
            known.set(key, promise);
        }
        return known.get(key);
    };
    const ask = (name, body) => once(`${name} ${JSON.stringify(body)}`, () => api.live(name, body, `tour-${name}-${known.size}`));
    const order = change => {
        const items = intact(model.n_layers);
        change(items);
        return formatOrder(items);
    };
    const live = {
        api, info, model, shown,
        words: () => ({ layers: model.n_layers, last: model.n_layers - 1, width: model.d_model, vocab: model.vocab, sentence: SENTENCE }),
        ask,
        run: (text, spec = '') => ask('run', { text, order: spec, top: 5 }),
        lens: text => ask('lens', { text, top: 5 }),
        stream: text => ask('stream', { text }),
        arithmetic: (text, body) => ask('arithmetic', { text, ...body }),
        pair: (a, b) => ask('pair', { a, b }),
        without: layer => order(items => items.splice(layer, 1)),
        exchanged: layer => order(items => items.splice(layer + 1, 0, ...items.splice(layer, 1))),
        reversed: () => order(items => items.reverse()),
        /* One after another, so that a class is not held up by one reader: [change of loss] of each order. */
        async scan(text, specs) {
            const out = [];
            for (const spec of specs) out.push((await live.run(text, spec)).mean_delta_nll);
            return out;
        },
        /* Which third of the layers an index lies in: 0, 1, 2. */
        third: (i, n) => Math.min(2, Math.floor((3 * i) / n)),
        results: () => api.file('api/results.json').then(r => r.results, () => []),
    };
    return live;
}
export const mean = list => {
    const there = list.filter(v => v !== null && v !== undefined && Number.isFinite(v));
    return there.length ? there.reduce((a, b) => a + b, 0) / there.length : null;
};
export const argmax = list => list.reduce((best, v, i) => (v > list[best] ? i : best), 0);
