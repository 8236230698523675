/* order.js: an order of layers as the strip shows it, and as text (`strata help orders`). An item is { members: [{ layer, part }], on }; part is
 * both, attn or mlp; several members run side by side. A layer that the order leaves out stands in the strip as an item that is off. */

const term = /^(\d+)(?:\.(attn|mlp))?$/;

function parseMember(text) {
    const found = term.exec(text);
    if (!found) throw new Error(text);
    return { layer: Number(found[1]), part: found[2] || 'both' };
}

/* Commas inside parentheses do not separate. */
function terms(spec) {
    const out = [];
    let depth = 0, from = 0;
    for (let i = 0; i <= spec.length; i++) {
        if (spec[i] === '(') depth++;
        if (spec[i] === ')') depth--;
        if (i === spec.length || (spec[i] === ',' && depth === 0)) {
            out.push(spec.slice(from, i));
            from = i + 1;
        }
    }
    return out.map(x => x.trim()).filter(Boolean);
}

/* Items that are on. null where only the program knows (shuffle); throws an Error whose message is the part not understood. */
export function parseOrder(spec, nLayers) {
    const text = spec.replace(/\s+/g, '');
    if (text === '') return intact(nLayers);
    if (text === 'none') return [];
    if (/shuffle/.test(text)) return null;
    const items = [];
    for (const piece of terms(text)) {
        const range = /^(\d+)-(\d+)$/.exec(piece);
        const repeat = /^(.+)[x*](\d+)$/.exec(piece);
        if (range) {
            const [a, b] = [Number(range[1]), Number(range[2])];
            if (Math.max(a, b) >= nLayers) throw new Error(piece);
            for (let l = a; ; l += a <= b ? 1 : -1) {
                items.push(item([{ layer: l, part: 'both' }]));
                if (l === b) break;
            }
        } else if (repeat) {
            const n = Number(repeat[2]);
            if (n < 1 || n > 1000) throw new Error(piece);
            for (let i = 0; i < n; i++) items.push(item([parseMember(repeat[1])]));
        } else {
            items.push(item(piece.replace(/^\((.*)\)$/, '$1').split(/[+|]/).map(parseMember)));
        }
    }
    for (const it of items) for (const m of it.members) if (m.layer >= nLayers) throw new Error(memberText(m));
    return items;
}

export const item = (members, on = true) => ({ members, on });
export const intact = nLayers => Array.from({ length: nLayers }, (_, layer) => item([{ layer, part: 'both' }]));
export const memberText = m => (m.part === 'both' ? String(m.layer) : `${m.layer}.${m.part}`);
const itemText = it => it.members.map(memberText).join('+');

/* Layers that occur nowhere are put back as items that are off: behind the layer before them, where that stands. */
export function withAbsent(items, nLayers) {
    const out = [...items];
    for (let layer = 0; layer < nLayers; layer++) {
        if (out.some(it => it.members.some(m => m.layer === layer))) continue;
        let at = 0;
        out.forEach((it, i) => {
            if (it.members.some(m => m.layer === layer - 1)) at = i + 1;
        });
        out.splice(at, 0, item([{ layer, part: 'both' }], false));
    }
    return out;
}

/* The canonical text: ranges where whole layers follow each other, 6x3 where one stands again. */
export function formatOrder(items) {
    const on = items.filter(it => it.on);
    if (!on.length) return 'none';
    const out = [];
    const whole = it => it && it.members.length === 1 && it.members[0].part === 'both';
    for (let i = 0; i < on.length;) {
        const here = itemText(on[i]);
        let n = 1;
        while (i + n < on.length && itemText(on[i + n]) === here) n++;
        if (n > 1 && on[i].members.length === 1) {
            out.push(`${here}x${n}`);
            i += n;
            continue;
        }
        let best = 1;
        for (const step of [1, -1]) {
            let length = 1;
            while (whole(on[i + length - 1]) && whole(on[i + length]) && on[i + length].members[0].layer === on[i + length - 1].members[0].layer + step &&
                   !(whole(on[i + length + 1]) && on[i + length + 1].members[0].layer === on[i + length].members[0].layer)) length++;
            if (length > best && (step === 1 || length > 2)) best = length;
        }
        if (best > 1) out.push(`${on[i].members[0].layer}-${on[i + best - 1].members[0].layer}`);
        else out.push(here);
        i += best;
    }
    return out.join(',');
}

/* Steps as the API answers them. */
export function fromSteps(steps) {
    const items = [];
    let group = null;
    for (const step of steps) {
        const member = { layer: step.layer, part: step.part };
        if (items.length && step.group === group) items[items.length - 1].members.push(member);
        else items.push(item([member]));
        group = step.group;
    }
    return items;
}

export function stepText(step) {
    return step.part === 'both' ? String(step.layer) : `${step.layer}.${step.part}`;
}
