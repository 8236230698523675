/* shell.js: what surrounds every view: the navigation, the language and projector switches, the link to share, the progress of a long
 * computation; and the change from one view to another. A view is mount(root, context) -> { change(keys), leave() }. */
import { h, replace } from './dom.js';
import { t, currentLanguage, setLanguage } from './i18n.js';
import { viewNames } from './state.js';
import { complaint } from './card.js';
import { mountLab } from './views/lab.js';
import { mountInside } from './views/inside.js';
import { modelName } from './model_name.js';
import { mountOrders } from './views/orders.js';
import { mountPairs } from './views/pairs.js';
import { mountTours } from './tours/tours.js';

const views = { lab: mountLab, inside: mountInside, orders: mountOrders, pairs: mountPairs, tours: mountTours };
const needsModel = new Set(['lab', 'inside', 'tours']);

export function createShell({ app, api, info, state }) {
    let current = null;
    const main = h('main', { id: 'view', tabindex: -1 });
    const header = h('header', { class: 'top' });
    const progress = h('div', { class: 'progress', role: 'progressbar', 'aria-valuemin': 0, 'aria-valuemax': 100, hidden: true }, h('div', { class: 'progressbar' }), h('span', { class: 'progresstext' }));

    api.onprogress(p => {
        progress.hidden = !p || !(p.running || p.waiting);
        if (!p) return;
        const share = Math.round(100 * (p.done || 0));
        progress.setAttribute('aria-valuenow', share);
        progress.firstChild.style.width = `${share}%`;
        progress.lastChild.textContent = p.running ? t('shell.computing', { share }) : t('shell.waiting', { ahead: p.ahead ?? 0 });
    });

    async function share(button) {
        const was = button.textContent;
        try {
            await navigator.clipboard.writeText(location.href);
            button.textContent = t('shell.copied');
        } catch {
            // Without permission the link is shown to be copied by hand.
            window.prompt(t('shell.copyByHand'), location.href);
        }
        setTimeout(() => { button.textContent = was; }, 1800);
    }

    function toggleProjector() {
        const on = document.documentElement.classList.toggle('projector');
        const address = new URL(location.href);
        if (on) address.searchParams.set('projector', '1');
        else address.searchParams.delete('projector');
        history.replaceState(null, '', address);
        render();
    }

    function switchLanguage() {
        setLanguage(currentLanguage() === 'en' ? 'ja' : 'en');
        const address = new URL(location.href);
        if (address.searchParams.has('lang')) {
            address.searchParams.set('lang', currentLanguage());
            history.replaceState(null, '', address);
        }
        render();
    }

    function drawHeader() {
        const name = info.model ? modelName(info.model.name) : t('shell.noModel');
        replace(header,
            h('a', { class: 'skip', href: '#view', onclick: e => { e.preventDefault(); main.focus(); } }, t('shell.skip')),
            h('a', { class: 'mark', href: state.address(info.live ? 'lab' : 'orders') }, h('img', { src: 'favicon.svg', alt: '', width: 26, height: 26 }), h('span', {}, 'Strata')),
            h('nav', { 'aria-label': t('shell.views') }, viewNames.map(view => h('a', {
                href: state.address(view), 'aria-current': view === state.view ? 'page' : null, 'data-view': view,
                onclick: e => {
                    if (e.metaKey || e.ctrlKey || e.shiftKey) return;
                    e.preventDefault();
                    state.set({}, { to: view });
                },
            }, t(`nav.${view}`)))),
            h('div', { class: 'tools' },
                h('span', { class: 'model', title: info.model ? `${info.model.name} · ${info.model.n_layers} × ${info.model.d_model}` : '' }, name),
                h('button', { type: 'button', class: 'mini', 'data-tool': 'language', lang: currentLanguage() === 'en' ? 'ja' : 'en', onclick: switchLanguage }, currentLanguage() === 'en' ? '日本語' : 'English'),
                h('button', { type: 'button', class: 'mini', 'data-tool': 'projector', 'aria-pressed': document.documentElement.classList.contains('projector') ? 'true' : 'false', onclick: toggleProjector }, t('shell.projector')),
                h('button', { type: 'button', class: 'mini', 'data-tool': 'share', onclick: e => share(e.currentTarget) }, t('shell.share'))));
    }

    function render() {
        current?.leave?.();
        current = null;
        drawHeader();
        document.title = `${t(`nav.${state.view}`)} · Strata`;
        main.dataset.view = state.view;
        const root = h('div', { class: 'view' });
        replace(main, linkNotice(), root);
        if (needsModel.has(state.view) && !info.live) {
            replace(root, h('h2', {}, t(`nav.${state.view}`)), h('p', { class: 'notice' }, t('shell.needsProgram')));
            return;
        }
        if (state.view === 'tours' && !info.model.tokenizer) {
            replace(root, h('h2', {}, t('nav.tours')), h('p', { class: 'notice' }, t('shell.needsTokenizer')));
            return;
        }
        try {
            current = views[state.view](root, { api, info, state });
        } catch (e) {
            replace(root, complaint(e.message));
            throw e;
        }
    }

    /* A link made with another model still opens, but says so. */
    function linkNotice() {
        const asked = state.get('model');
        if (!info.model || !asked || asked === info.model.name || !needsModel.has(state.view)) return null;
        return h('p', { class: 'notice' }, t('shell.otherModel', { asked, here: info.model.name }));
    }

    state.listen((keys, viewChanged) => {
        if (viewChanged) {
            render();
            window.scrollTo(0, 0);
        } else {
            current?.change?.(keys);
        }
    });
    replace(app, header, progress, main, h('footer', { class: 'foot' }, h('span', {}, `Strata ${info.version || ''}`),
        info.arithmetic ? h('span', {}, `${info.arithmetic.ops ?? ''} · ${info.arithmetic.dtype} · ${info.arithmetic.threads} threads`) : null));
    render();
}
