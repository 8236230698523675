/* i18n.js: which language the page speaks. The texts themselves lie in texts.js. */
import { texts } from './texts.js';

const languages = ['en', 'ja'];
let language = 'en';

export const currentLanguage = () => language;

/* The address (?lang=), then what was chosen here before, then the server's LANG, then the browser. */
export function chooseLanguage(asked, server) {
    let stored = null;
    try {
        stored = localStorage.getItem('strata.lang');
    } catch { /* storage may be closed to us */ }
    const wanted = [asked, stored, server, ...(navigator.languages || [])].filter(Boolean).map(x => x.slice(0, 2));
    language = wanted.find(x => languages.includes(x)) || 'en';
    document.documentElement.lang = language;
}

export function setLanguage(to) {
    language = to;
    document.documentElement.lang = to;
    try {
        localStorage.setItem('strata.lang', to);
    } catch { /* then it holds for this page alone */ }
}

/* t(key, { n: 3 }): the text with {n} filled in. A key that is not there shows itself: the tests look for that. */
export function t(key, values = {}) {
    const entry = texts[key];
    if (!entry) return key;
    return entry[languages.indexOf(language)].replace(/\{(\w+)\}/g, (whole, name) => (name in values ? values[name] : whole));
}
