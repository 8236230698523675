/* inside.js: the inside view: the text and order of the lab, looked at from within. Owns the header and the choice of the part; each part is a
 * module of inside/, mount(root, context) -> { change(keys) }. */
import { h, replace, choice } from '../dom.js';
import { t } from '../i18n.js';
import { Superseded } from '../api.js';
import { complaint } from '../card.js';
import { stepText } from '../order.js';
import { shown } from './tokens.js';
import { sentenceField, textBody } from './sentence.js';
import { mountLens } from '../inside/lens.js';
import { mountStream } from '../inside/stream.js';
import { mountAttention } from '../inside/attention.js';
import { mountRouter } from '../inside/router.js';
import { mountArithmetic } from '../inside/arithmetic.js';

const parts = { lens: mountLens, stream: mountStream, attention: mountAttention, router: mountRouter, arithmetic: mountArithmetic };

export function mountInside(root, { api, info, state }) {
    const problem = h('div'), body = h('div'), tabs = h('div', { class: 'tabs' }), order = h('p', { class: 'orderline' });
    const field = sentenceField({ info, value: state.get('text'), onchange: text => state.set({ text, tok: null, at: null, key: null }) });
    let current = null;
    replace(root, h('h1', { class: 'unseen' }, t('nav.inside')), field.node, order, tabs, problem, body);

    const part = () => (state.get('part') in parts ? state.get('part') : 'lens');
    const context = {
        api, info, state,
        /* Asks with the shared text and order; problems stand in one place. null: superseded or failed. */
        async ask(name, more = {}, slot = name) {
            try {
                const answer = await api.live(name, { ...textBody(info, state.get('text')), order: state.get('order'), ...more }, slot);
                replace(problem);
                return answer;
            } catch (e) {
                if (!(e instanceof Superseded)) replace(problem, complaint(e.message || t('error.network')));
                return null;
            }
        },
        pointName: (answer, p) => (p === 0 ? t('inside.embedding') : t('inside.after', { step: stepText(answer.steps[p - 1]) })),
        pointShort: (answer, p) => (p === 0 ? t('inside.embeddingShort') : stepText(answer.steps[p - 1])),
        tokenNames: answer => answer.tokens.map((tok, i) => `${i} ${shown(tok.piece)}`),
        /* The chosen token, or otherwise one in the text. */
        token: (answer, otherwise) => Math.max(0, Math.min(answer.tokens.length - 1, state.number('tok', otherwise))),
    };

    function render() {
        replace(tabs, choice(t('inside.parts'), Object.keys(parts).map(p => [p, t(`inside.${p}`)]), part(), p => state.set({ part: p }, { push: true })));
        replace(order, h('span', { class: 'label' }, t('lab.order')), h('code', { class: 'spec' }, state.get('order') || t('lab.intact')), h('a', { href: state.address('lab') }, t('inside.changeOrder')));
        replace(problem);
        replace(body);
        current = parts[part()](body, context);
    }
    render();
    state.set({ model: info.model.name, text: state.get('text'), order: state.get('order') });

    return {
        change(keys) {
            if (keys.includes('text')) field.set(state.get('text'));
            if (keys.includes('part') || keys.includes('order')) render();
            else current?.change?.(keys);
        },
        leave: () => current?.leave?.(),
    };
}
