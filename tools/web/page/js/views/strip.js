/* strip.js: the strip of layers: plates to drag into another order, click off, halve, repeat, set side by side. Keyboard: arrows walk,
 * Shift+arrows move the layer, space turns it off or on, A M W halve or make whole, R repeats, P sets it beside the next, Delete takes it out.
 * Owns the items while they are on screen; tells every change through onchange(items, final): final is false during a drag. */
import { h, replace } from '../dom.js';
import { t } from '../i18n.js';
import { item, withAbsent } from '../order.js';

const DRAG_PX = 6; /* a press that moves less is a click */
const PLATE_REM = 3.15; /* the least width of a plate with its gap; lab.css makes the plates */

export function createStrip({ nLayers, onchange }) {
    let items = [], chosen = -1, drag = null;
    const list = h('ul', { class: 'strip', role: 'listbox', 'aria-label': t('strip.label'), 'aria-orientation': 'horizontal' });
    const actions = h('div', { class: 'actions', role: 'toolbar', 'aria-label': t('strip.actions') });
    const spoken = h('p', { class: 'unseen', 'aria-live': 'polite' });
    const node = h('div', { class: 'striparea' }, list, actions, spoken);
    let influence = [];

    /* As few lines as the width allows, of equal plates. */
    function layOut() {
        const rem = parseFloat(getComputedStyle(document.documentElement).fontSize), room = list.clientWidth / (PLATE_REM * rem);
        const lines = Math.max(1, Math.ceil(items.length / Math.max(1, Math.floor(room))));
        list.style.setProperty('--columns', Math.max(1, Math.ceil(items.length / lines)));
    }
    new ResizeObserver(layOut).observe(list);

    const nameOf = it => it.members.map(m => `${m.layer}${m.part === 'attn' ? ' A' : m.part === 'mlp' ? ' M' : ''}`).join(' + ');
    const occurrences = layer => items.filter(it => it.members.some(m => m.layer === layer)).length;

    /* What is on, at its place in the order; -1 for what is off. */
    function stepsOf() {
        let step = 0;
        return items.map(it => {
            if (!it.on) return [];
            const mine = it.members.map((_, i) => step + i);
            step += it.members.length;
            return mine;
        });
    }

    function plate(it, i, steps) {
        const parts = new Set(it.members.map(m => m.part));
        const both = parts.has('both');
        const moved = it.on && i > 0 && items.slice(0, i).some(o => o.on && o.members[0].layer > it.members[0].layer);
        const strength = Math.max(0, ...steps.map(s => influence[s] ?? 0));
        const bar = h('span', { class: 'influence', 'aria-hidden': 'true' }, h('span', {}));
        bar.firstChild.style.height = `${Math.min(100, 100 * Math.sqrt(strength))}%`;
        const el = h('li', {
            class: `plate${it.on ? '' : ' off'}${moved ? ' moved' : ''}${it.members.length > 1 ? ' group' : ''}${occurrences(it.members[0].layer) > 1 ? ' again' : ''}`,
            role: 'option', tabindex: i === (chosen < 0 ? 0 : chosen) ? 0 : -1, 'aria-selected': i === chosen ? 'true' : 'false', 'data-index': i, 'data-layer': it.members[0].layer,
            'aria-label': t('strip.plate', { name: nameOf(it), state: it.on ? t('strip.on') : t('strip.off'), place: i + 1, n: items.length }),
            title: t('strip.hint'),
        }, bar, h('span', { class: 'num' }, it.members.map(m => m.layer).join('+')),
        h('span', { class: 'halves', 'aria-hidden': 'true' },
            h('span', { class: both || parts.has('attn') ? 'half' : 'half gone' }, 'A'), h('span', { class: both || parts.has('mlp') ? 'half' : 'half gone' }, 'M')));
        el.itemOf = it;
        return el;
    }

    function draw({ focus = false } = {}) {
        const before = new Map([...list.children].map(el => [el.itemOf, el.getBoundingClientRect()]));
        const steps = stepsOf();
        replace(list, items.map((it, i) => plate(it, i, steps[i])));
        layOut();
        const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
        for (const el of list.children) {
            const was = before.get(el.itemOf), now = el.getBoundingClientRect();
            const held = drag && drag.it === el.itemOf;
            if (held) el.classList.add('held');
            if (!calm && !held && was && (was.left !== now.left || was.top !== now.top)) {
                el.animate([{ transform: `translate(${was.left - now.left}px, ${was.top - now.top}px)` }, { transform: 'none' }], { duration: 160, easing: 'ease-out' });
            }
        }
        if (focus) list.children[chosen]?.focus({ preventScroll: true });
        drawActions();
    }

    function drawActions() {
        const it = items[chosen];
        const act = (key, action, label, enabled = Boolean(it)) => h('button', { type: 'button', class: 'mini', 'data-action': action, disabled: !enabled, onclick: () => perform(action) }, label, key ? h('kbd', {}, key) : null);
        replace(actions,
            h('span', { class: 'label' }, it ? t('strip.chosen', { name: nameOf(it) }) : t('strip.choose')),
            act('␣', 'toggle', it && !it.on ? t('strip.turnOn') : t('strip.turnOff')), act('A', 'attn', t('strip.attn'), Boolean(it) && it.members.length === 1), act('M', 'mlp', t('strip.mlp'), Boolean(it) && it.members.length === 1),
            act('W', 'whole', t('strip.whole'), Boolean(it)), act('R', 'repeat', t('strip.repeat')), act('P', 'beside', t('strip.beside'), Boolean(it) && chosen + 1 < items.length),
            act('', 'left', '←'), act('', 'right', '→'), act('⌫', 'remove', t('strip.remove'), Boolean(it)));
    }

    function changed(final = true) {
        draw({ focus: final && list.contains(document.activeElement) });
        onchange(items, final);
    }

    function perform(action) {
        const it = items[chosen];
        if (!it) return;
        const setPart = part => {
            items[chosen] = item(it.members.map(m => ({ ...m, part })), true);
        };
        if (action === 'toggle') items[chosen] = { ...it, on: !it.on };
        else if (action === 'attn' || action === 'mlp') setPart(action);
        else if (action === 'whole') {
            // A group falls apart into its layers.
            if (it.members.length > 1) items.splice(chosen, 1, ...it.members.map(m => item([{ ...m }], it.on)));
            else setPart('both');
        } else if (action === 'repeat') items.splice(chosen + 1, 0, item(it.members.map(m => ({ ...m })), true));
        else if (action === 'beside') {
            const next = items[chosen + 1];
            if (!next) return;
            items.splice(chosen, 2, item([...it.members, ...next.members], true));
        } else if (action === 'left' || action === 'right') {
            const to = chosen + (action === 'left' ? -1 : 1);
            if (to < 0 || to >= items.length) return;
            items.splice(to, 0, ...items.splice(chosen, 1));
            chosen = to;
        } else if (action === 'remove') {
            // What stands twice loses this plate; the last of a layer stays as a plate that is off.
            if (it.members.every(m => occurrences(m.layer) > 1)) items.splice(chosen, 1);
            else items[chosen] = { ...it, on: false };
            chosen = Math.min(chosen, items.length - 1);
        }
        spoken.textContent = items[chosen] ? t('strip.plate', { name: nameOf(items[chosen]), state: items[chosen].on ? t('strip.on') : t('strip.off'), place: chosen + 1, n: items.length }) : '';
        changed();
    }

    function choose(i, focus = true) {
        chosen = Math.max(0, Math.min(items.length - 1, i));
        [...list.children].forEach((el, n) => {
            el.tabIndex = n === chosen ? 0 : -1;
            el.setAttribute('aria-selected', n === chosen ? 'true' : 'false');
        });
        drawActions();
        if (focus) list.children[chosen]?.focus({ preventScroll: true });
    }

    list.addEventListener('keydown', e => {
        const at = e.target.closest('.plate');
        if (!at || e.metaKey || e.ctrlKey || e.altKey) return;
        chosen = Number(at.dataset.index);
        const keys = { ' ': 'toggle', Enter: 'toggle', a: 'attn', m: 'mlp', w: 'whole', r: 'repeat', p: 'beside', Delete: 'remove', Backspace: 'remove' };
        const forward = e.key === 'ArrowRight' || e.key === 'ArrowDown', back = e.key === 'ArrowLeft' || e.key === 'ArrowUp';
        if (forward || back) {
            if (e.shiftKey) {
                perform(forward ? 'right' : 'left');
                choose(chosen);
            } else choose(chosen + (forward ? 1 : -1));
        } else if (e.key === 'Home') choose(0);
        else if (e.key === 'End') choose(items.length - 1);
        else if (keys[e.key] || keys[e.key.toLowerCase()]) perform(keys[e.key] || keys[e.key.toLowerCase()]);
        else return;
        e.preventDefault();
    });
    list.addEventListener('focusin', e => {
        const at = e.target.closest('.plate');
        if (at && Number(at.dataset.index) !== chosen && !drag) choose(Number(at.dataset.index), false);
    });

    /* Where a plate held at (x, y) belongs: before the plate whose middle lies behind the pointer, in its line of the strip. */
    function placeAt(x, y) {
        const others = [...list.children].filter(el => el.itemOf !== drag.it);
        let place = others.length, best = Infinity;
        others.forEach((el, i) => {
            const b = el.getBoundingClientRect();
            const off = y < b.top ? b.top - y : y > b.bottom ? y - b.bottom : 0;
            const d = off * 1000 + Math.abs(x - (b.left + b.width / 2));
            if (d < best) {
                best = d;
                place = x > b.left + b.width / 2 ? i + 1 : i;
            }
        });
        return place;
    }
    list.addEventListener('pointerdown', e => {
        const at = e.target.closest('.plate');
        if (!at || e.button !== 0) return;
        drag = { it: at.itemOf, x: e.clientX, y: e.clientY, moved: false, id: e.pointerId, began: [...items] };
        list.setPointerCapture(e.pointerId);
    });
    list.addEventListener('pointermove', e => {
        if (!drag || e.pointerId !== drag.id) return;
        if (!drag.moved && Math.hypot(e.clientX - drag.x, e.clientY - drag.y) < DRAG_PX) return;
        drag.moved = true;
        const from = items.indexOf(drag.it), place = placeAt(e.clientX, e.clientY);
        list.querySelector('.held') || list.children[from]?.classList.add('held');
        if (place !== from) {
            items.splice(from, 1);
            items.splice(place, 0, drag.it);
            chosen = place;
            changed(false);
        }
    });
    const drop = e => {
        if (!drag || e.pointerId !== drag.id) return;
        const { moved, it, began } = drag;
        drag = null;
        list.querySelectorAll('.held').forEach(el => el.classList.remove('held'));
        chosen = items.indexOf(it);
        if (e.type === 'pointercancel') {
            items = began;
            changed();
        } else if (moved) {
            changed();
            choose(chosen);
        } else {
            perform('toggle');
            choose(chosen);
        }
    };
    list.addEventListener('pointerup', drop);
    list.addEventListener('pointercancel', drop);

    return {
        node,
        get items() { return items; },
        get dragging() { return Boolean(drag); },
        set(next) {
            items = withAbsent(next, nLayers);
            chosen = Math.min(chosen, items.length - 1);
            draw();
        },
        /* Bars on the plates: 1 - cosine between the stream before and after each step. */
        setInfluence(values) {
            influence = values || [];
            if (drag) return;
            const steps = stepsOf();
            [...list.children].forEach((el, i) => {
                el.querySelector('.influence > span').style.height = `${Math.min(100, 100 * Math.sqrt(Math.max(0, ...steps[i].map(s => influence[s] ?? 0))))}%`;
            });
        },
    };
}
