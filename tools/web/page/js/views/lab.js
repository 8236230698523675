/* lab.js: the layer lab: one sentence, the layers as plates, what each token's loss and prediction become. Owns the requests; the plates are
 * strip.js's, the tokens tokens.js's. */
import { h, replace, choice } from '../dom.js';
import { t } from '../i18n.js';
import { parseOrder, formatOrder, intact, fromSteps } from '../order.js';
import { Superseded } from '../api.js';
import { complaint, card } from '../card.js';
import { createStrip } from './strip.js';
import { sentenceField, textBody } from './sentence.js';
import { tokenFlow, tokenPicture, shown } from './tokens.js';
import { candidatesPanel } from './candidates.js';
import { columns } from '../chart/bars.js';
import { legend } from '../chart/grid.js';
import { colourScale } from '../chart/theme.js';
import { modelName } from '../model_name.js';
import { fixed, number } from '../chart/axis.js';

const DEBOUNCE_MS = 25;
/* Fixed scales, so that a colour means the same before and after a drag. Square root: 0.1 nat is seen, 6 nats do not drown it. */
const measures = {
    delta: { kind: 'change', max: 6, of: r => r.delta_nll, format: v => fixed(v, 2, true) },
    nll: { kind: 'amount', max: 12, of: r => r.variant.nll, format: v => fixed(v, 2) },
    kl: { kind: 'amount', max: 6, of: r => r.variant.kl || r.variant.nll.map(() => null), format: v => fixed(v, 2) },
};

export function mountLab(root, { api, info, state }) {
    const nLayers = info.model.n_layers;
    let result = null, timer = null;
    let unresolved = null; /* an order that only the program can spell out: shuffle(...) */
    const readouts = h('dl', { class: 'readouts' });
    const problem = h('div');
    const tokens = h('div', { class: 'tokens' });
    const details = h('div', { class: 'details' });
    const spec = h('code', { class: 'spec' });
    const latency = h('span', { class: 'latency' });

    const field = sentenceField({ info, value: state.get('text'), onchange: text => state.set({ text, tok: null }) });
    const strip = createStrip({
        nLayers,
        onchange(items, final) {
            unresolved = null;
            const order = formatOrder(items);
            spec.textContent = order;
            if (final) state.set({ order }, { push: true });
            run(order);
        },
    });
    const setItems = items => {
        unresolved = null;
        strip.set(items);
        const order = formatOrder(strip.items);
        spec.textContent = order;
        state.set({ order }, { push: true });
        run(order);
    };
    const shuffled = () => {
        const items = intact(nLayers);
        for (let i = items.length - 1; i > 0; i--) {
            const j = Math.floor(Math.random() * (i + 1));
            [items[i], items[j]] = [items[j], items[i]];
        }
        return items;
    };
    const presets = h('div', { class: 'presets', role: 'group', 'aria-label': t('lab.presets') },
        [['intact', () => intact(nLayers)], ['removeOne', () => {
            const gone = Math.floor(Math.random() * nLayers);
            return intact(nLayers).map((it, i) => (i === gone ? { ...it, on: false } : it));
        }], ['exchange', () => {
            const items = intact(nLayers), i = Math.floor(Math.random() * Math.max(1, nLayers - 1));
            items.splice(i + 1, 0, ...items.splice(i, 1));
            return items;
        }], ['reverse', () => intact(nLayers).reverse()], ['random', shuffled]].map(([name, make]) => h('button', { type: 'button', class: 'mini', 'data-preset': name, onclick: () => setItems(make()) }, t(`lab.${name}`))));

    const byToken = card({
        name: 'lab_tokens', title: t('lab.chartTitle'), hint: t('lab.chartHint'), wide: true,
        draw: width => {
            if (!result) return null;
            const m = measures[measure()], values = m.of(result);
            return columns({
                width, height: 230, label: t('lab.chartTitle'), picked: state.number('tok'),
                values: result.tokens.map((tok, i) => ({ label: shown(tok.piece), value: values[i] })),
                x: {}, y: { label: t(`measure.${measure()}.short`) }, onpick: pick,
            });
        },
        table: labTable,
    });
    const flowCard = card({
        name: 'lab', title: t('lab.tokensTitle'), hint: t('lab.tokensHint'), wide: true,
        draw: () => (result ? tokens : null), table: labTable,
        picture: () => tokenPicture({
            ...flowOptions(), width: 900, title: `${t('lab.order')}: ${result.order}`,
            lines: [`${modelName(info.model.name)} · ${t('lab.ppl')} ${number(result.baseline?.ppl)} → ${number(result.variant.ppl)} · ${t(`measure.${measure()}`)}`],
        }),
    });

    replace(root,
        h('h1', { class: 'unseen' }, t('nav.lab')),
        field.node,
        h('section', { class: 'bench', 'aria-label': t('lab.layers') },
            h('div', { class: 'benchhead' }, h('h2', {}, t('lab.layers')), presets),
            strip.node,
            h('p', { class: 'orderline' }, h('span', { class: 'label' }, t('lab.order')), spec, latency)),
        problem, readouts, flowCard.node, details, byToken.node,
        h('p', { class: 'help' }, t('lab.keys')));

    function measure() { return state.get('by') in measures ? state.get('by') : 'delta'; }
    function unit() { return state.get('unit') === 'word' ? 'word' : 'token'; }
    function pick(i) { if (state.number('tok') !== i) state.set({ tok: i }); }

    function flowOptions() {
        const m = measures[measure()];
        return { pieces: result.tokens.map(tok => tok.piece), values: m.of(result), scale: colourScale(m.kind, m.max, { root: true }), format: m.format, unit: unit() };
    }

    function labTable() {
        return {
            columns: ['token', 'id', 'piece', 'start', 'end', 'nll_intact', 'nll', 'delta_nll', 'rank_intact', 'rank', 'kl', 'top_intact', 'top'],
            rows: result.tokens.map((tok, i) => {
                const b = result.baseline, v = result.variant;
                const top = side => (side?.candidates[i] ? result.pieces[side.candidates[i].ids[0]] : null);
                return [i, tok.id, tok.piece, tok.start, tok.end, b?.nll[i], v.nll[i], result.delta_nll?.[i], b?.rank[i], v.rank[i], v.kl?.[i], top(b), top(v)];
            }),
        };
    }

    function run(order) {
        clearTimeout(timer);
        timer = setTimeout(async () => {
            const text = state.get('text');
            if (!text) {
                result = null;
                show();
                return;
            }
            try {
                result = await api.live('run', { ...textBody(info, text), order, top: 10 }, 'run');
                replace(problem);
                if (unresolved) adopt(result);
                strip.setInfluence(result.variant.influence);
                latency.textContent = t(result.cached ? 'lab.latencyCached' : 'lab.latency', { ms: fixed(result.ms, 1), trip: fixed(result.round_trip_ms, 0) });
                field.judge(text, result.tokens.slice(info.model.bos ? 1 : 0).map(x => x.piece), result.baseline?.mean_nll);
                show();
            } catch (e) {
                if (e instanceof Superseded) return;
                replace(problem, complaint(e.message || t('error.network')));
            }
        }, DEBOUNCE_MS);
    }

    /* The program knows what shuffle(...) means: its steps become the plates. */
    function adopt(answer) {
        unresolved = null;
        strip.set(fromSteps(answer.steps));
        spec.textContent = formatOrder(strip.items);
    }

    function readout(name, before, after, hint) {
        return h('div', {}, h('dt', {}, name), h('dd', {}, h('strong', {}, after), before === null ? null : h('span', { class: 'was' }, before)), h('dd', { class: 'hint' }, hint));
    }

    function show() {
        flowCard.setControls(
            choice(t('lab.colour'), Object.keys(measures).map(key => [key, t(`measure.${key}.short`)]), measure(), by => state.set({ by })),
            choice(t('lab.unit'), [['token', t('lab.token')], ['word', t('lab.word')]], unit(), u => state.set({ unit: u })));
        if (!result) {
            replace(readouts);
            replace(details);
            flowCard.redraw();
            byToken.redraw();
            return;
        }
        const { baseline: b, variant: v } = result;
        replace(readouts,
            readout(t('lab.ppl'), b ? t('lab.intactWas', { v: number(b.ppl) }) : null, number(v.ppl), t('lab.pplHint')),
            readout(t('lab.loss'), b ? t('lab.intactWas', { v: fixed(b.mean_nll, 3) }) : null, fixed(v.mean_nll, 3), t('lab.lossHint')),
            readout(t('lab.delta'), null, fixed(result.mean_delta_nll, 3, true), t('lab.deltaHint')),
            readout(t('lab.kl'), null, fixed(result.mean_kl, 3), t('lab.klHint')));
        const options = flowOptions();
        const last = result.tokens.length;
        const picked = state.number('tok');
        const neutral = { fill: '#e7eef0', text: '#1d2126' };
        const flow = tokenFlow({
            ...options, picked, onpick: pick, label: t('lab.tokensTitle'),
            tail: [{ text: `${shown(result.pieces[v.next.ids[0]] ?? '')} ?`, value: t('lab.next'), colour: neutral, picked: picked === last, onpick: () => pick(last) }],
        });
        const focused = tokens.contains(document.activeElement) ? [...tokens.querySelectorAll('.tok')].indexOf(document.activeElement) : -1;
        replace(tokens, flow, legend({ scale: options.scale, text: t(`measure.${measure()}`) }));
        if (focused >= 0) tokens.querySelectorAll('.tok')[focused]?.focus({ preventScroll: true });
        replace(details, candidatesPanel({ result, position: picked ?? Math.min(last, firstOfNote(result)) }));
        flowCard.redraw();
        byToken.redraw();
    }

    /* Without a choice: the token that lost most. */
    function firstOfNote(r) {
        if (!r.delta_nll) return r.tokens.length;
        let best = r.tokens.length, most = -Infinity;
        r.delta_nll.forEach((d, i) => {
            if (d !== null && d > most) [best, most] = [i, d];
        });
        return best;
    }

    function readState() {
        const order = state.get('order');
        spec.textContent = order;
        try {
            const items = parseOrder(order, nLayers);
            unresolved = items ? null : order;
            strip.set(items || intact(nLayers));
        } catch (e) {
            replace(problem, complaint(t('error.order', { part: e.message })));
            strip.set(intact(nLayers));
            return;
        }
        run(order);
    }
    const currentOrder = () => unresolved ?? formatOrder(strip.items);
    readState();
    // The address says everything from the start, so that it can be copied as it stands.
    state.set({ model: info.model.name, text: state.get('text'), order: currentOrder() });

    return {
        change(keys) {
            if (keys.includes('text')) {
                field.set(state.get('text'));
                run(currentOrder());
            }
            if (keys.includes('order') && state.get('order') !== currentOrder()) readState();
            if (keys.some(key => ['tok', 'by', 'unit'].includes(key))) show();
        },
        leave() {
            clearTimeout(timer);
        },
    };
}
