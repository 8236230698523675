/* sentence.js: the field for the text that lab and inside view share, and what the page says of texts that a small model cannot do. */
import { h, replace } from '../dom.js';
import { t, currentLanguage } from '../i18n.js';

const bytes = text => new TextEncoder().encode(text).length;
const UNLIKELY_NATS = 6.2; /* mean loss above which a text looks unlike anything the model knows; guessing among 500 words alike */
const FOREIGN = 0.15;

/* What is sent of a text: for a model without a tokenizer the text is a list of token ids. */
export function textBody(info, text) {
    return info.model.tokenizer ? { text } : { ids: (text.match(/\d+/g) || []).map(Number) };
}

/* onchange(text): after every edit that the limits allow. */
export function sentenceField({ info, value, onchange }) {
    const notes = h('div', { class: 'notes', 'aria-live': 'polite' });
    const area = h('textarea', { id: 'sentence', rows: 1, spellcheck: 'false', autocomplete: 'off', value, 'aria-describedby': 'sentence-notes' });
    notes.id = 'sentence-notes';
    const node = h('div', { class: 'sentence' }, h('label', { for: 'sentence', class: 'label' }, t(info.model.tokenizer ? 'lab.sentence' : 'lab.ids')), area, notes);
    const fit = () => {
        area.style.height = 'auto';
        area.style.height = `${Math.min(220, area.scrollHeight + 2)}px`;
    };
    let timer = null;
    area.addEventListener('input', () => {
        fit();
        clearTimeout(timer);
        timer = setTimeout(() => {
            const n = bytes(area.value), most = info.limits.text_bytes;
            if (n > most) say(t('note.tooLong', { n, most }));
            else onchange(area.value);
        }, 180);
    });
    let width = 0;
    new ResizeObserver(() => {
        if (area.clientWidth === width) return;
        width = area.clientWidth;
        fit();
    }).observe(area);

    function say(...texts) {
        replace(notes, texts.filter(Boolean).map(text => h('p', { class: 'notice' }, text)));
    }
    return {
        node,
        set(text) {
            if (area.value !== text) area.value = text;
            fit();
        },
        say,
        /* What is to be said of a text once it ran. pieces without BOS; meanLoss of the intact model. A script that the tokenizer was not made for
         * falls apart into bytes, pieces that are no whole characters. */
        judge(text, pieces, meanLoss) {
            const small = info.small_model || {}, n = pieces.length;
            const letters = [...text].filter(c => /\p{L}/u.test(c)), foreign = letters.filter(c => !/\p{Script=Latin}/u.test(c)).length;
            const isForeign = n > 0 && (pieces.filter(p => p.includes('\ufffd')).length > FOREIGN * n || ((small.languages || []).join() === 'en' && foreign > FOREIGN * letters.length));
            const isLong = small.context_trained && n > small.context_trained;
            const own = small.text?.[currentLanguage()] || '';
            say(isForeign && `${t('note.language')} ${own}`, isLong && t('note.context', { n, most: small.context_trained }), !isForeign && small.is_small && meanLoss > UNLIKELY_NATS && n > 5 && `${t('note.unlikely')} ${own}`);
        },
    };
}
