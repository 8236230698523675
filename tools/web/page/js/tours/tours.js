/* tours.js: the guided tours. A tour is a list of cards; a card either tells ("read") or asks ("ask"): the reader commits to an answer before the
 * live numbers are shown. Owns the walk through the cards; what they compute lies in the tour's own module, the words in tour_texts.js.
 *
 * A card: { kind, name, options (asks), show(context) -> { right, values, figure, link } }. right: index of the option that the numbers bear out. */
import { h, replace } from '../dom.js';
import { t } from '../i18n.js';
import { complaint } from '../card.js';
import { Superseded } from '../api.js';
import { createLive } from './live.js';
import { embedTour } from './tour_embed.js';
import { streamTour } from './tour_stream.js';
import { orderTour } from './tour_order.js';
import { speechTour } from './tour_speech.js';
import { pairTour } from './tour_pair.js';

const tours = { embed: embedTour, stream: streamTour, order: orderTour, speech: speechTour, pair: pairTour };

export function mountTours(root, { api, info, state }) {
    const committed = new Map(); /* "tour/card" -> option: a prediction is not changed once the numbers are seen */
    const scored = { right: 0, asked: 0 };
    let left = false;
    const live = createLive({ api, info });
    const tour = () => (state.get('tour') in tours ? state.get('tour') : null);
    const number = () => Math.max(0, Math.min(tours[tour()].length - 1, state.number('card', 0)));
    const go = card => state.set({ card }, { push: true });

    function overview() {
        replace(root, h('h2', {}, t('tours.title')), h('p', { class: 'hint' }, t('tours.intro')), h('ol', { class: 'tourlist' }, Object.keys(tours).map(name => h('li', {}, h('button', { type: 'button', class: 'tour', 'data-tour': name, onclick: () => state.set({ tour: name, card: 0 }, { push: true }) },
            h('strong', {}, t(`tour.${name}.title`)), h('span', {}, t(`tour.${name}.about`)), h('span', { class: 'label' }, t('tours.cards', { n: tours[name].length })))))));
    }

    async function render() {
        if (!tour()) return overview();
        const name = tour(), n = number(), card = tours[name][n], key = `tour.${name}.${card.name}`, id = `${name}/${card.name}`;
        const answer = h('div', { class: 'reveal', 'aria-live': 'polite' }), next = h('button', { type: 'button', class: 'primary', 'data-tool': 'next', disabled: card.kind === 'ask' && !committed.has(id), onclick: () => (n + 1 < tours[name].length ? go(n + 1) : state.set({ tour: null, card: null }, { push: true })) }, n + 1 < tours[name].length ? t('tours.next') : t('tours.finish'));
        const options = card.kind === 'ask' ? h('div', { class: 'options', role: 'group', 'aria-label': t('tours.predict') }) : null;
        const drawOptions = right => options && replace(options, Array.from({ length: card.options }, (_, i) => h('button', {
            type: 'button', class: `option${right === i ? ' right' : ''}`, 'data-option': i, 'aria-pressed': committed.get(id) === i ? 'true' : 'false', disabled: committed.has(id) && committed.get(id) !== i && right !== i, onclick: () => commit(i),
        }, h('span', {}, t(`${key}.${i}`, live.words())), right === i ? h('span', { class: 'tick' }, t('tours.borneOut')) : null)));
        async function commit(i) {
            if (committed.has(id)) return;
            committed.set(id, i);
            drawOptions(null);
            await reveal(true);
        }
        async function reveal(first) {
            replace(answer, h('p', { class: 'hint' }, t('tours.computing')));
            try {
                const got = await card.show(live);
                if (left || tour() !== name || number() !== n) return;
                const values = { ...live.words(), ...got.values };
                if (card.kind === 'ask' && first) {
                    scored.asked++;
                    if (got.right === committed.get(id)) scored.right++;
                }
                if (card.kind === 'ask') drawOptions(got.right ?? -1);
                const verdict = card.kind === 'ask' && got.right !== null ? h('p', { class: 'verdictline' }, got.right === committed.get(id) ? t('tours.asPredicted') : t('tours.otherwise')) : null;
                const figure = h('div', { class: 'tourfigure' });
                replace(answer, verdict, card.kind === 'ask' ? h('p', {}, t(`${key}.a`, values)) : null, figure, got.link ? h('p', {}, h('a', { href: state.address(got.link.view, got.link.state) }, t('tours.look'))) : null);
                if (got.figure) replace(figure, got.figure(Math.max(260, Math.floor(figure.clientWidth))));
                next.disabled = false;
            } catch (e) {
                if (!(e instanceof Superseded)) replace(answer, complaint(e.message || t('error.network')));
                next.disabled = false;
            }
        }
        replace(root,
            h('nav', { class: 'toolbar', 'aria-label': t('tours.title') }, h('button', { type: 'button', class: 'mini', 'data-tool': 'all', onclick: () => state.set({ tour: null, card: null }, { push: true }) }, t('tours.all')),
                h('span', { class: 'label' }, `${t(`tour.${name}.title`)} · ${n + 1} / ${tours[name].length}`), scored.asked ? h('span', { class: 'label' }, t('tours.score', scored)) : null),
            h('article', { class: 'tourcard' }, h('h2', {}, t(`${key}.h`, live.words())), t(`${key}.p`, live.words()).split('\n').map(text => h('p', {}, text)), options, answer),
            h('div', { class: 'toolbar' }, h('button', { type: 'button', 'data-tool': 'back', disabled: n === 0, onclick: () => go(n - 1) }, t('tours.back')), next));
        drawOptions(null);
        if (card.kind === 'read' || committed.has(id)) await reveal(false);
    }
    render();
    return {
        change: keys => keys.some(k => ['tour', 'card'].includes(k)) && render(),
        leave: () => { left = true; },
    };
}
