/* state.js: what is looked at, as strings, and its address: #/VIEW?key=value&... A link holds the common keys and those of its view, so
 * that whoever opens it sees the same. Numbers and lists are parsed by the view that owns the key; absent means the default. */

const COMMON = ['model', 'text', 'order'];
const VIEWS = {
    lab: ['tok', 'by', 'unit'],
    inside: ['part', 'tok', 'point', 'step', 'head', 'op', 'at', 'coord', 'key', 'expert'],
    orders: ['res', 'metric', 'axis', 'bend', 'tags', 'tagmetric', 'win', 'under'],
    pairs: ['bpart', 'diff', 'cat', 'cats', 'posn', 'stat', 'curve', 'as', 'q', 'tcat', 'tpl', 'err', 'page', 'pa', 'pb', 'through', 'order', 'place', 'norm', 'rank', 'fp', 'dim', 'dims', 'mode', 'zoom'],
    tours: ['tour', 'card'],
};

/* Readable addresses: what is legal in a fragment stays as it is. */
const encode = text => encodeURIComponent(text).replace(/%(2C|3A|28|29|2F|20|3B|7C)/g, (whole, hex) => (hex === '20' ? '+' : String.fromCharCode(parseInt(hex, 16))));
const decode = (text, key = '') => {
    try {
        return decodeURIComponent(key === 'order' ? text : text.replace(/\+/g, '%20')); /* a + of an order sets layers side by side */
    } catch {
        return text;
    }
};

export function parseAddress(hash, home = 'lab') {
    const [, view = '', query = ''] = /^#?\/?([^?]*)\??(.*)$/s.exec(hash);
    const values = {};
    for (const part of query.split('&').filter(Boolean)) {
        const cut = part.indexOf('=');
        if (cut > 0) values[decode(part.slice(0, cut))] = decode(part.slice(cut + 1), decode(part.slice(0, cut)));
    }
    return { view: view in VIEWS ? view : home, values };
}

export function formatAddress(view, values) {
    const keys = (view === 'orders' || view === 'pairs' ? [] : COMMON).concat(VIEWS[view]);
    const parts = keys.filter(key => values[key] !== undefined && values[key] !== null && values[key] !== '')
        .map(key => `${key}=${encode(String(values[key]))}`);
    return `#/${view}${parts.length ? `?${parts.join('&')}` : ''}`;
}

export const viewNames = Object.keys(VIEWS);

/* The store. listen(fn): fn(changed keys, view changed?) after every change, also by the browser's back and forward. */
export function createState(defaults, home = 'lab') {
    const listeners = new Set();
    const from = parseAddress(location.hash, home);
    let view = from.view;
    let values = { ...defaults, ...from.values };

    const tell = (changed, viewChanged) => [...listeners].forEach(fn => fn(changed, viewChanged));
    window.addEventListener('hashchange', () => {
        const next = parseAddress(location.hash, home);
        if (next.view === view && formatAddress(view, next.values) === formatAddress(view, values)) return;
        const kept = new Set([...COMMON, ...VIEWS[next.view]]);
        const older = values;
        // What the address of a view does not say has its default there.
        values = Object.fromEntries(Object.entries(values).filter(([key]) => !kept.has(key) || COMMON.includes(key)));
        Object.assign(values, next.values);
        const viewChanged = next.view !== view;
        view = next.view;
        tell(Object.keys({ ...older, ...values }).filter(key => older[key] !== values[key]), viewChanged);
    });

    const api = {
        get view() { return view; },
        get: (key, otherwise = '') => (values[key] === undefined || values[key] === null ? otherwise : values[key]),
        number(key, otherwise = null) {
            const n = Number(values[key]);
            return values[key] === undefined || values[key] === '' || values[key] === null || !Number.isFinite(n) ? otherwise : n;
        },
        /* push: the browser's back button undoes it. */
        set(patch, { push = false, to = view } = {}) {
            const changed = Object.keys(patch).filter(key => String(patch[key] ?? '') !== String(values[key] ?? ''));
            const viewChanged = to !== view;
            if (!changed.length && !viewChanged) return;
            for (const key of changed) values[key] = patch[key];
            view = to;
            const address = formatAddress(view, values);
            if (push || viewChanged) history.pushState(null, '', address);
            else history.replaceState(null, '', address);
            tell(changed, viewChanged);
        },
        address: (to, patch = {}) => formatAddress(to, { ...values, ...patch }),
        listen(fn) {
            listeners.add(fn);
            return () => listeners.delete(fn);
        },
    };
    window.addEventListener('popstate', () => window.dispatchEvent(new HashChangeEvent('hashchange')));
    return api;
}
