/* arithmetic.js: "show the arithmetic": one coordinate of one operation with its real numbers, down to the terms of the dot product. The chain of
 * operations can be walked: an operand that another operation made is a button that leads there. What the operations are, is the program's answer;
 * the words and the order of reading are here. */
import { h, replace, select, choice } from '../dom.js';
import { t } from '../i18n.js';
import { card } from '../card.js';
import { rows } from '../chart/bars.js';
import { number } from '../chart/axis.js';
import { stepText } from '../order.js';
import { shown } from '../views/tokens.js';

const SHOWN_TERMS = 12;
const PER_HEAD = new Set(['score', 'softmax']);
const OF_EXPERT = new Set(['expert_gate', 'expert_up', 'expert_hidden', 'expert_down']);
const OUTSIDE = new Set(['embed', 'final_norm', 'logit']);

export function mountArithmetic(root, { ask, info, state, tokenNames, token }) {
    const model = info.model;
    let list = null, answer = null, all = false, sorted = true;
    const chain = h('nav', { class: 'chain', 'aria-label': t('arith.chain') }), tools = h('div', { class: 'toolbar' }), result = h('section', { class: 'arith' });
    const bars = card({
        name: 'arithmetic', title: t('arith.terms'), hint: t('arith.termsHint'),
        draw: width => {
            const terms = answer && termsOf();
            return terms && rows({ width, label: t('arith.terms'), values: biggest(terms).map(x => ({ label: x.name, value: x.product })) });
        },
        table: () => {
            const terms = termsOf() || [];
            return { columns: ['j', answer.operands[0]?.name ?? 'x', answer.operands[1]?.name ?? 'w', 'product'], rows: terms.map(x => [x.j, x.x, x.w, x.product]) };
        },
    });
    replace(root, h('p', { class: 'hint' }, t('arith.intro')), chain, tools, h('div', { class: 'cards' }, result, bars.node));

    const steps = () => list.ops.filter(entry => entry.step !== null);
    const step = () => Math.max(0, Math.min(steps().length - 1, state.number('step', 0)));
    const outside = () => list.ops.filter(e => e.step === null).flatMap(e => e.ops);
    const opsHere = () => [...outside().filter(o => o.op === 'embed'), ...(steps()[step()]?.ops ?? []), ...outside().filter(o => o.op !== 'embed')];
    const op = () => (opsHere().some(o => o.op === state.get('op')) ? state.get('op') : opsHere().find(o => o.op === 'q')?.op ?? opsHere()[0].op);
    const at = () => Math.max(0, Math.min(list.tokens.length - 1, state.number('at', list.tokens.length - 1)));
    const size = () => opsHere().find(o => o.op === op())?.size || 0;
    const coordinate = () => {
        const asked = state.number('coord', null);
        // What is asked of the head first is the token that really follows, or the last one.
        const otherwise = op() === 'logit' ? list.tokens[Math.min(at() + 1, list.tokens.length - 1)].id : 0;
        return Math.max(0, Math.min(size() - 1, asked ?? otherwise));
    };
    const head = () => Math.max(0, Math.min(model.n_heads - 1, state.number('head', 0)));
    const key = () => Math.max(0, Math.min(at(), state.number('key', Math.max(0, at() - 1))));
    const expert = () => (OF_EXPERT.has(op()) ? state.number('expert') : null);
    const to = (name, patch = {}) => state.set({ op: name, ...patch }, { push: true });

    /* The terms of a dot product, or null for what is none. */
    function termsOf() {
        const [x, w] = answer.operands;
        if (answer.kind !== 'dot' || !x || !w) return null;
        return x.values.map((v, j) => ({ j: (x.first || 0) + j, name: nameOf(x, j), x: v, w: w.values[j], product: v * w.values[j] }));
    }
    const nameOf = (operand, j) => (PER_HEAD.has(operand.op) ? `${operand.first + j} ${shown(list.tokens[operand.first + j]?.piece ?? '')}` : String((operand.first || 0) + j));
    const biggest = terms => [...terms].sort((a, b) => Math.abs(b.product) - Math.abs(a.product)).slice(0, SHOWN_TERMS);

    /* Where the number of an operand comes from: an address, or null for a weight. */
    function origin(operand, j) {
        if (!operand.op || operand.op === 'weight') return null;
        const n = (operand.first || 0) + j, here = { step: operand.step ?? answer.step };
        if (operand.op === 'stream') {
            const before = streamBefore();
            return before && { ...before, at: operand.position ?? answer.position, coord: n };
        }
        if (PER_HEAD.has(operand.op)) return { op: operand.op, ...here, at: operand.position ?? answer.position, head: answer.head ?? Math.floor(answer.coordinate / model.head_dim), key: n, coord: null };
        if (answer.op === 'moe') return operand.op === 'expert_down' ? (operand.values[j] === null ? null : { op: 'expert_down', ...here, at: answer.position, coord: answer.coordinate, expert: n }) : { op: operand.op, ...here, at: answer.position, coord: n };
        if (operand.op === 'v' && answer.op === 'mix') {
            const shared = model.n_heads / model.n_kv_heads, dim = model.head_dim;
            return { op: 'v', ...here, at: n, coord: Math.floor(Math.floor(answer.coordinate / dim) / shared) * dim + (answer.coordinate % dim) };
        }
        return { op: operand.op, ...here, at: operand.position ?? answer.position, coord: n, ...(OF_EXPERT.has(operand.op) ? { expert: answer.expert } : {}) };
    }
    /* The operation that left the residual stream as this one finds it; null where side by side layers make that several. */
    function streamBefore() {
        if (answer.op === 'mlp_norm' && opsOf({ step: answer.step }).includes('attn_add')) return { op: 'attn_add', step: answer.step };
        const s = OUTSIDE.has(answer.op) ? steps().length : answer.step;
        if (s === 0) return { op: 'embed' };
        const last = ['mlp_add', 'attn_add'].find(name => opsOf({ step: s - 1 }).includes(name));
        return last ? { op: last, step: s - 1 } : null;
    }
    const jump = (value, where) => (where ? h('button', { type: 'button', class: 'number', title: t('arith.goto', { op: where.op }), onclick: () => to(where.op, where) }, number(value, 5)) : h('span', { class: 'number' }, number(value, 5)));

    function drawChain() {
        const current = op();
        replace(chain, opsHere().map((o, i) => [i ? h('span', { class: 'arrow', 'aria-hidden': 'true' }, '→') : null,
            h('button', { type: 'button', class: 'mini', 'data-op': o.op, 'aria-pressed': o.op === current ? 'true' : 'false', onclick: () => to(o.op, { coord: null }) }, o.op)]));
    }
    function drawTools() {
        const stepped = !OUTSIDE.has(op());
        const numberField = (label, value, most, set) => h('label', { class: 'field' }, h('span', { class: 'label' }, label),
            h('input', { type: 'number', min: 0, max: most, value, onchange: e => set(Math.max(0, Math.min(most, Number(e.target.value) || 0))) }), h('span', { class: 'label' }, `/ ${most}`));
        replace(tools,
            stepped ? select(t('arith.step'), steps().map((e, i) => [String(i), t('attn.where', { step: i, layer: stepText(list.steps[i]) })]), String(step()), v => state.set({ step: Number(v) })) : null,
            select(t('inside.token'), tokenNames(list).map((n, i) => [String(i), n]), String(at()), v => state.set({ at: Number(v) })),
            PER_HEAD.has(op()) ? [select(t('arith.head'), Array.from({ length: model.n_heads }, (_, i) => [String(i), String(i)]), String(head()), v => state.set({ head: Number(v) })),
                select(t('attn.key'), tokenNames(list).slice(0, at() + 1).map((n, i) => [String(i), n]), String(key()), v => state.set({ key: Number(v) }))]
                : [OF_EXPERT.has(op()) ? select(t('router.expert'), Array.from({ length: model.n_experts }, (_, e) => [String(e), answer?.chosen?.includes(e) ? t('arith.chosen', { n: e }) : String(e)]), String(expert() ?? answer?.expert ?? 0), v => state.set({ expert: Number(v) })) : null, numberField(t('arith.coordinate'), coordinate(), Math.max(0, size() - 1), v => state.set({ coord: v }))]);
    }
    function dotTable() {
        const terms = termsOf();
        if (!terms) return null;
        const [x, w] = answer.operands;
        const listed = sorted ? [...terms].sort((a, b) => Math.abs(b.product) - Math.abs(a.product)) : terms;
        const cut = all ? listed : listed.slice(0, SHOWN_TERMS);
        let sum = 0;
        const body = cut.map(term => {
            sum += term.product;
            const j = term.j - (x.first || 0);
            return h('tr', {}, h('td', {}, term.name), h('td', { class: 'n' }, jump(term.x, origin(x, j))), h('td', {}, '×'), h('td', { class: 'n' }, jump(term.w, origin(w, j))), h('td', {}, '='), h('td', { class: 'n' }, number(term.product, 4)), h('td', { class: 'n' }, number(sum, 5)));
        });
        const rest = listed.slice(cut.length).reduce((s, x_) => s + x_.product, 0);
        return h('div', {}, h('div', { class: 'toolbar' }, choice(t('arith.sort'), [['size', t('arith.bySize')], ['index', t('arith.byIndex')]], sorted ? 'size' : 'index', v => { sorted = v === 'size'; show(); }),
            h('button', { type: 'button', class: 'mini', onclick: () => { all = !all; show(); } }, all ? t('arith.fewer') : t('arith.all', { n: terms.length }))),
        h('div', { class: 'scroll' }, h('table', { class: 'terms' },
            h('thead', {}, h('tr', {}, h('th', {}, answer.op === 'mix' ? t('attn.key') : answer.op === 'moe' ? t('router.expert') : 'j'), h('th', { class: 'n' }, x.op && x.op !== 'weight' ? `${x.name} (${x.op})` : x.name), h('th', {}), h('th', { class: 'n' }, w.op === 'weight' ? w.name : `${w.name} (${w.op})`), h('th', {}), h('th', { class: 'n' }, t('arith.product')), h('th', { class: 'n' }, t('arith.running')))),
            h('tbody', {}, body, all ? null : h('tr', {}, h('td', {}, '…'), h('td', { colspan: 4 }, t('arith.rest', { n: listed.length - cut.length })), h('td', { class: 'n' }, number(rest, 4)), h('td', { class: 'n' }, number(sum + rest, 5)))))));
    }
    /* Where the scalars of the other kinds come from. */
    function scalarOrigin(name) {
        const s = answer.step, c = answer.coordinate, before = streamBefore() || {};
        const table = {
            attn_add: { before: { ...before, coord: c }, added: { op: 'o', coord: c } }, mlp_add: { before: { op: opsOf({ step: s }).includes('attn_add') ? 'attn_add' : before.op, step: opsOf({ step: s }).includes('attn_add') ? s : before.step, coord: c }, added: { op: opsOf({ step: s }).includes('down') ? 'down' : model.d_shared ? 'mixture' : 'moe', coord: c } },
            share: { score: { op: 'router', coord: c } }, expert_hidden: { gate: { op: 'expert_gate', coord: c, expert: answer.expert }, up: { op: 'expert_up', coord: c, expert: answer.expert } },
            shared_hidden: { gate: { op: 'shared_gate', coord: c }, up: { op: 'shared_up', coord: c } }, mixture: { moe: { op: 'moe', coord: c }, score: { op: 'shared_score', coord: 0 }, shared_down: { op: 'shared_down', coord: c } },
            hidden: { gate: { op: 'gate', coord: c }, up: { op: 'up', coord: c } }, softmax: { score: { op: 'score', coord: null } }, q_rotated: { a: { op: 'q', coord: c } }, k_rotated: { a: { op: 'k', coord: c } },
            attn_norm: { x: { ...before, coord: c } }, mlp_norm: { x: { ...before, coord: c } }, final_norm: { x: { ...before, coord: c } },
        };
        const where = table[answer.op]?.[name];
        return where?.op && opsOf(where).includes(where.op) ? { step: s, at: answer.position, ...where } : null;
    }
    const opsOf = where => (OUTSIDE.has(where.op) ? outside() : list.ops.filter(e => e.step === (where.step ?? answer.step)).flatMap(e => e.ops)).map(o => o.op);

    function show() {
        if (!list) return;
        drawChain();
        drawTools();
        if (!answer) return;
        const weight = answer.operands.find(o => o.op === 'weight');
        const token_ = list.tokens[answer.position];
        replace(result, h('h3', {}, t(`op.${answer.op}`)),
            h('p', { class: 'hint' }, t('arith.place', { position: answer.position, piece: shown(token_?.piece ?? '') }), answer.op === 'logit' && answer.piece ? ` · ${shown(answer.piece)}` : ''),
            h('p', { class: 'formula' }, answer.formula),
            h('p', { class: 'equals' }, '= ', h('strong', {}, number(answer.value, 6))),
            answer.engine === null ? h('p', { class: 'agrees' }, t('arith.fused')) : h('p', { class: answer.agrees ? 'agrees' : 'complaint' }, t(answer.agrees ? 'arith.agrees' : 'arith.disagrees', { engine: number(answer.engine, 8), difference: number(answer.difference, 2), bound: number(answer.bound, 2) })),
            answer.scalars.length ? h('dl', { class: 'scalars' }, answer.scalars.map(sc => h('div', {}, h('dt', {}, sc.name), h('dd', {}, jump(sc.value, scalarOrigin(sc.name)))))) : null,
            dotTable(),
            answer.kind !== 'dot' && answer.operands.length ? operandTable() : null,
            weight ? h('p', { class: 'hint' }, t('arith.tensor', { tensor: weight.tensor, row: weight.row })) : null);
        bars.node.hidden = answer.kind !== 'dot';
        bars.redraw();
    }
    function operandTable() {
        const n = Math.max(...answer.operands.map(o => o.values.length)), few = all ? n : Math.min(n, SHOWN_TERMS);
        return h('div', {}, h('button', { type: 'button', class: 'mini', onclick: () => { all = !all; show(); } }, all ? t('arith.fewer') : t('arith.all', { n })),
            h('div', { class: 'scroll' }, h('table', { class: 'terms' }, h('thead', {}, h('tr', {}, h('th', {}, 'j'), answer.operands.map(o => h('th', { class: 'n' }, o.op && o.op !== 'weight' ? `${o.name} (${o.op})` : o.name)))),
                h('tbody', {}, Array.from({ length: few }, (_, j) => h('tr', {}, h('td', {}, nameOf(answer.operands[0], j)), answer.operands.map(o => h('td', { class: 'n' }, jump(o.values[j], origin(o, j))))))))));
    }
    async function load() {
        if (!list || list.stale) {
            const got = await ask('arithmetic', { op: 'list' }, 'arithmetic-list');
            if (!got) return;
            list = got;
        }
        const o = op();
        const body = { op: o, position: at() };
        if (!OUTSIDE.has(o)) body.step = step();
        if (PER_HEAD.has(o)) Object.assign(body, { head: head(), key: key() });
        else body.coordinate = coordinate();
        if (expert() !== null && expert() < model.n_experts) body.expert = expert();
        show();
        const got = await ask('arithmetic', body);
        if (got) {
            answer = got;
            show();
        }
    }
    load();
    return {
        change(keys) {
            if (keys.includes('text') && list) list.stale = true;
            if (keys.some(k => ['text', 'op', 'step', 'at', 'coord', 'head', 'key', 'expert'].includes(k))) load();
        },
    };
}
