/* router.js: for mixture models, which experts each token was sent to in every step, and how evenly they are used. */
import { h, replace } from '../dom.js';
import { t } from '../i18n.js';
import { card } from '../card.js';
import { grid, legend } from '../chart/grid.js';
import { colourScale, fontSize } from '../chart/theme.js';
import { shown } from '../views/tokens.js';
import { fixed } from '../chart/axis.js';

export function mountRouter(root, { ask, info, state }) {
    if (!info.model.n_experts) {
        replace(root, h('p', { class: 'notice' }, t('router.none')));
        return {};
    }
    let answer = null;
    const scale = colourScale('amount', 1);
    const table = () => ({
        columns: ['step', 'layer', 'position', 'token', 'choice', 'expert', 'weight'],
        rows: answer.layers.flatMap(l => l.experts.flatMap((experts, i) => experts.map((e, c) => [l.step, l.layer, i, answer.tokens[i].piece, c, e, l.weights[i][c]]))),
    });
    const choices = card({
        name: 'router', title: t('router.choices'), hint: t('router.choicesHint'), wide: true, table,
        draw: width => answer && h('div', {}, grid({
            width, minCell: fontSize() * 4.2, label: t('router.choices'), rowNames: answer.layers.map(l => String(l.layer)), colNames: answer.tokens.map(x => shown(x.piece)), rowLabel: t('inside.stepLabel'), scale,
            cell: (r, c) => ({ value: answer.layers[r].weights[c][0], text: answer.layers[r].experts[c].join('·'), title: answer.layers[r].experts[c].map((e, i) => `${e}: ${fixed(answer.layers[r].weights[c][i], 3)}`).join(', ') }),
            onpick: (r, c) => state.set({ tok: c }),
        }), legend({ scale, text: t('router.weight') })),
        picture: () => choices.node.querySelector('.cardbody svg'),
    });
    const share = l => {
        const n = new Array(answer.n_experts).fill(0);
        l.experts.flat().forEach(e => n[e]++);
        return n.map(v => v / l.experts.flat().length);
    };
    const usage = card({
        name: 'router_usage', title: t('router.usage'), hint: t('router.usageHint'), wide: true,
        draw: width => {
            if (!answer) return null;
            const shares = answer.layers.map(share);
            const used = colourScale('amount', Math.max(...shares.flat()));
            return grid({ width, label: t('router.usage'), rowNames: answer.layers.map(l => String(l.layer)), colNames: shares[0].map((_, e) => String(e)), rowLabel: t('inside.stepLabel'), colLabel: t('router.expert'), scale: used, cell: (r, c) => ({ value: shares[r][c], text: fixed(shares[r][c], 2) }) });
        },
        table: () => ({ columns: ['step', 'layer', 'expert', 'share'], rows: answer.layers.flatMap(l => share(l).map((v, e) => [l.step, l.layer, e, v])) }),
    });
    replace(root, h('div', { class: 'cards' }, choices.node, usage.node));
    async function load() {
        const got = await ask('router');
        if (!got) return;
        answer = got;
        choices.redraw();
        usage.redraw();
    }
    load();
    return { change: keys => keys.includes('text') && load() };
}
