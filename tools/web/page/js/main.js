/* main.js: starts the page: what the server has, the language, the state from the address, then the shell with the view. */
import { createApi } from './api.js';
import { createState } from './state.js';
import { chooseLanguage } from './i18n.js';
import { createShell } from './shell.js';
import { h, replace } from './dom.js';

const IDS = [1, 2, 3, 5, 8, 13, 21, 34, 55]; /* what a model without a tokenizer opens on */
const query = new URLSearchParams(location.search);

async function start() {
    const api = createApi();
    const app = document.getElementById('app');
    let info;
    try {
        info = await api.file('api/model.json');
    } catch (e) {
        chooseLanguage(query.get('lang'), null);
        replace(app, h('p', { class: 'startup', role: 'alert' }, e.status === 401
            ? 'The address lacks its token: open the one that strata serve printed. / トークンがありません。strata serve が表示したアドレスを開いてください。'
            : `The program does not answer (${e.message || 'no connection'}). Start it with: strata serve / プログラムが応答しません。`));
        return;
    }
    chooseLanguage(query.get('lang'), info.lang);
    if (query.get('projector') === '1') document.documentElement.classList.add('projector');
    const text = info.model?.tokenizer ? info.defaults?.text ?? '' : IDS.filter(id => id < (info.model?.vocab ?? 0)).join(', ');
    const defaults = info.model ? { model: info.model.name, text, order: info.defaults?.order ?? '' } : {};
    const state = createState(defaults, info.live ? 'lab' : 'orders');
    createShell({ app, api, info, state });
}

start();
