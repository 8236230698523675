/* lens.js: the logit lens: what the model would say if it stopped at each point of the residual stream, the final norm applied. A scrubber
 * over the points, a table of all of them, the chosen one's candidates, and the loss of the token that really follows. */
import { h, replace } from '../dom.js';
import { t } from '../i18n.js';
import { card } from '../card.js';
import { grid, legend } from '../chart/grid.js';
import { rows } from '../chart/bars.js';
import { lines } from '../chart/lines.js';
import { colourScale, fontSize } from '../chart/theme.js';
import { shown, shownNext } from '../views/tokens.js';
import { percent, fixed } from '../chart/axis.js';

const PLAY_MS = 550;

export function mountLens(root, { ask, state, pointName, pointShort, token }) {
    let answer = null, playing = null;
    const scale = colourScale('amount', 1);
    const slider = h('input', { type: 'range', id: 'point', min: 0, max: 0, step: 1, oninput: () => go(Number(slider.value)) });
    const where = h('output', { for: 'point', class: 'where' });
    const play = h('button', { type: 'button', class: 'mini', onclick: () => (playing ? halt() : start()) }, t('lens.play'));
    const says = h('p', { class: 'says', 'aria-live': 'polite' });
    const last = () => (answer ? answer.ids.length - 1 : 0);
    const point = () => Math.max(0, Math.min(last(), state.number('point', last())));
    const tok = () => token(answer, answer.tokens.length - 1);
    const go = p => state.set({ point: p });

    function start() {
        play.textContent = t('lens.stop');
        go(0);
        playing = setInterval(() => (point() >= last() ? halt() : go(point() + 1)), PLAY_MS);
    }
    function halt() {
        clearInterval(playing);
        playing = null;
        play.textContent = t('lens.play');
    }

    const piece = id => shownNext(answer.pieces[id] ?? `#${id}`);
    const table = card({
        name: 'lens', title: t('lens.table'), hint: t('lens.tableHint'), wide: true,
        draw: width => answer && h('div', {}, grid({
            width, label: t('lens.table'), minCell: fontSize() * 4.6, rowNames: answer.ids.map((_, p) => pointShort(answer, p)), colNames: answer.tokens.map(x => shown(x.piece)), scale,
            rowLabel: t('inside.pointLabel'), picked: [point(), tok()], onpick: (p, i) => state.set({ point: p, tok: i }),
            cell: (p, i) => ({ value: answer.p[p][i][0], text: clip(piece(answer.ids[p][i][0])), title: `${pointName(answer, p)}: ${piece(answer.ids[p][i][0])} ${percent(answer.p[p][i][0])}` }),
        }), legend({ scale, text: t('lens.colour') })),
        picture: () => table.node.querySelector('.cardbody svg'),
        table: () => ({
            columns: ['point', 'name', 'position', 'token', 'candidate', 'id', 'piece', 'p', 'next_nll', 'next_rank', 'kl_to_final'],
            rows: answer.ids.flatMap((perToken, p) => perToken.flatMap((ids, i) => ids.map((id, c) => [p, pointName(answer, p), i, answer.tokens[i].piece, c, id, answer.pieces[id], answer.p[p][i][c], answer.next_nll[p][i], answer.next_rank[p][i], answer.kl_to_final[p][i]]))),
        }),
    });
    const clip = text => (text.length > 8 ? `${text.slice(0, 7)}…` : text);
    const candidates = card({
        name: 'lens_candidates', title: t('lens.candidates'),
        draw: width => {
            if (!answer) return null;
            const next = answer.tokens[tok() + 1];
            return rows({
                width, max: 1, text: percent, label: t('lens.candidates'),
                values: answer.ids[point()][tok()].map((id, c) => ({ label: clip14(piece(id)), value: answer.p[point()][tok()][c], mark: next && id === next.id, colour: next && id === next.id ? '#b3541e' : undefined })),
            });
        },
        table: () => ({ columns: ['id', 'piece', 'p'], rows: answer.ids[point()][tok()].map((id, c) => [id, answer.pieces[id], answer.p[point()][tok()][c]]) }),
    });
    const clip14 = text => (text.length > 14 ? `${text.slice(0, 13)}…` : text);
    const curve = card({
        name: 'lens_loss', title: t('lens.curve'), hint: t('lens.curveHint'),
        draw: width => answer && lines({
            width, height: 260, label: t('lens.curve'), zero: true, cursor: point(), onpick: go,
            series: [{ name: t('lens.lossNext'), points: answer.next_nll.map((row, p) => [p, row[tok()]]) }, { name: t('lens.klFinal'), points: answer.kl_to_final.map((row, p) => [p, row[tok()]]) }],
            x: { label: t('inside.pointLabel'), ticks: answer.ids.map((_, p) => [p, pointShort(answer, p)]) }, y: { label: t('unit.nats') },
        }),
        table: () => ({ columns: ['point', 'name', 'next_nll', 'next_rank', 'kl_to_final'], rows: answer.ids.map((_, p) => [p, pointName(answer, p), answer.next_nll[p][tok()], answer.next_rank[p][tok()], answer.kl_to_final[p][tok()]]) }),
    });
    const norm = h('p', { class: 'hint' });
    replace(root, h('section', { class: 'scrub', 'aria-label': t('lens.scrubber') }, h('div', { class: 'scrubhead' }, h('label', { for: 'point' }, t('lens.scrubber')), where, play), slider, says, norm),
        h('div', { class: 'cards' }, candidates.node, curve.node, table.node));

    function show() {
        if (!answer) return;
        slider.max = last();
        slider.value = point();
        slider.setAttribute('aria-valuetext', pointName(answer, point()));
        where.textContent = pointName(answer, point());
        const i = tok(), p = point(), next = answer.tokens[i + 1];
        replace(says, t('lens.after'), ' ', h('span', { class: 'context' }, `… ${answer.tokens.slice(Math.max(0, i - 7), i + 1).map(x => x.piece).join('').trim()} `), h('mark', {}, piece(answer.ids[p][i][0])),
            ` ${percent(answer.p[p][i][0])}`, next ? h('span', { class: 'was' }, t('lens.really', { piece: shown(next.piece), loss: fixed(answer.next_nll[p][i], 2), rank: answer.next_rank[p][i] + 1 })) : null);
        norm.textContent = t(answer.final_norm ? 'lens.norm' : 'lens.noNorm');
        [candidates, curve, table].forEach(c => c.redraw());
    }
    async function load() {
        const got = await ask('lens', { top: 8 });
        if (got) {
            answer = got;
            show();
        }
    }
    load();
    return {
        change(keys) {
            if (keys.includes('text')) load();
            else if (keys.includes('point') || keys.includes('tok')) show();
        },
        leave: halt,
    };
}
