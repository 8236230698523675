/* dom.js: elements without a framework: h() for HTML, s() for SVG. A property that begins with "on" is a listener, "style" an object
 * (set through the CSSOM, which the content security policy allows), false, null and undefined leave an attribute out. */

const SVG = 'http://www.w3.org/2000/svg';

function fill(node, props, children) {
    for (const [key, value] of Object.entries(props || {})) {
        if (value === false || value === null || value === undefined) continue;
        if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
        else if (key === 'style') for (const [name, v] of Object.entries(value)) node.style.setProperty(name, v);
        else if (key === 'value' && 'value' in node) node.value = value;
        else if (key === 'checked') node.checked = Boolean(value);
        else node.setAttribute(key, value === true ? '' : String(value));
    }
    append(node, children);
    return node;
}

function append(node, children) {
    for (const child of [children].flat(Infinity)) {
        if (child === null || child === undefined || child === false) continue;
        node.append(child instanceof Node ? child : document.createTextNode(String(child)));
    }
}

export const h = (tag, props, ...children) => {
    const node = document.createElement(tag);
    // A select's value can be set only once its options are there.
    const { value, ...rest } = props || {};
    if (tag !== 'select') return fill(node, props, children);
    fill(node, rest, children);
    if (value !== undefined) node.value = value;
    return node;
};

export const s = (tag, props, ...children) => fill(document.createElementNS(SVG, tag), props, children);

export const replace = (node, ...children) => {
    node.replaceChildren();
    append(node, children);
    return node;
};

/* A row of buttons of which one is pressed. options: [value, label][]. */
export function choice(label, options, value, onpick) {
    return h('div', { class: 'choice', role: 'group', 'aria-label': label },
        options.map(([v, text]) => h('button', {
            type: 'button', 'data-value': v, 'aria-pressed': v === value ? 'true' : 'false', onclick: () => onpick(v),
        }, text)));
}

export function select(label, options, value, onpick, { hidden = false } = {}) {
    return h('label', { class: 'field' }, h('span', { class: hidden ? 'unseen' : 'label' }, label),
        h('select', { value, 'aria-label': label, onchange: e => onpick(e.target.value) },
            options.map(([v, text]) => h('option', { value: v }, text))));
}
