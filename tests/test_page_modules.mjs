/* test_page_modules.mjs: what of the page runs without a browser: orders as text, addresses, CSV, numbers, words, colours, texts in both languages.
 * Prints its counts as tests/run.sh reads them. */
import assert from 'node:assert/strict';
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { join, dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

const page = join(dirname(fileURLToPath(import.meta.url)), '../tools/web/page');
const from = name => import(join(page, 'js', name));
let passed = 0, failed = 0;
async function test(name, fn) {
    try {
        await fn();
        passed++;
    } catch (e) {
        failed++;
        console.log(`failed: ${name}: ${e.message.split('\n').slice(0, 4).join(' ')}`);
    }
}
const files = folder => readdirSync(folder).flatMap(name => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? files(path) : [path];
});
const sources = files(page);

const { modelName } = await from('model_name.js'); // the cases of tests/test_model_lookup.c
for (const [typed, shown] of [
    ['meta-llama/Meta-Llama-3-8B', 'Meta-Llama-3-8B'],
    ['models/Meta-Llama-3-8B//', 'Meta-Llama-3-8B'],
    ['gpt2', 'gpt2'],
    ['/gpt2/', 'gpt2'],
    ['/h/hub/models--meta-llama--Meta-Llama-3-8B/snapshots/0123abcd/', 'Meta-Llama-3-8B'],
    ['hub/models--gpt2/snapshots/0123', 'gpt2'],
    ['models--a--b--c/snapshots/0', 'b--c'],
    ['snapshots/0123', '0123'],
    ['x/gguf/SmolLM2-135M.Q4_1.gguf', 'SmolLM2-135M.Q4_1'],
    ['tools/demo/model', 'demo/model'],
    ['tools/demo/model/', 'demo/model'],
    ['a/b/model.gguf', 'b/model'],
    ['model', 'model'],
    ['.gguf', '.gguf'],
    ['a_b&c%/d e', 'd e'],
]) {
    await test(`the model ${typed}`, () => assert.equal(modelName(typed), shown));
}

const { parseOrder, formatOrder, withAbsent, fromSteps, intact, item } = await from('order.js');
for (const [spec, canonical] of [
    ['0-11', '0-11'], ['', '0-11'], ['0-4,6-11', '0-4,6-11'], ['11-0', '11-0'], ['0-5,6x3,7-11', '0-5,6x3,7-11'], ['0-5,6*3,7-11', '0-5,6x3,7-11'], ['0-9,10.attn,11', '0-9,10.attn,11'],
    ['0,1,3,2,4-11', '0-1,3,2,4-11'], ['0-9,10+11', '0-9,10+11'], ['0-9,(10|11)', '0-9,10+11'], ['none', 'none'], ['5', '5'], ['0,0', '0x2'], ['0-3,2-6', '0-3,2-6'], ['3.mlp,3.attn', '3.mlp,3.attn'],
    ['0,1,2,2,3', '0-1,2x2,3'], ['10,9', '10,9'],
]) {
    await test(`order ${spec}`, () => assert.equal(formatOrder(parseOrder(spec, 12)), canonical));
}
await test('what is formatted is parsed to the same', () => {
    let seed = 7;
    const random = n => (seed = (seed * 1103515245 + 12345) % 2147483648) % n;
    for (let round = 0; round < 300; round++) {
        const items = Array.from({ length: 1 + random(14) }, () => item(Array.from({ length: random(6) ? 1 : 2 }, () => ({ layer: random(12), part: ['both', 'both', 'both', 'attn', 'mlp'][random(5)] }))));
        assert.deepEqual(parseOrder(formatOrder(items), 12), items);
    }
});
for (const wrong of ['12', '0-12', 'a', '3.both', '1++2', '5x0', '-1', '3.attn.mlp']) {
    await test(`order ${wrong} is refused`, () => assert.throws(() => parseOrder(wrong, 12)));
}
await test('shuffle is left to the program', () => assert.equal(parseOrder('0-3,shuffle(4-11,seed=1)', 12), null));
await test('a layer left out stands at its place, off', () => {
    const items = withAbsent(parseOrder('0-4,6-11', 12), 12);
    assert.equal(items.length, 12);
    assert.deepEqual(items[5], { members: [{ layer: 5, part: 'both' }], on: false });
    assert.equal(formatOrder(items), '0-4,6-11');
});
await test('none leaves all of them off', () => assert.equal(withAbsent([], 12).filter(it => !it.on).length, 12));
await test('steps with one group run side by side', () => assert.equal(formatOrder(fromSteps([{ layer: 0, part: 'both', group: 0 }, { layer: 1, part: 'both', group: 1 }, { layer: 2, part: 'attn', group: 1 }])), '0,1+2.attn'));
await test('intact', () => assert.equal(formatOrder(intact(3)), '0-2'));

const { parseAddress, formatAddress } = await from('state.js');
await test('an address comes back as it was', () => {
    const values = { model: 'a/b c', text: 'x & y = 100% #1, "quoted"\nnext 日本語 + more', order: '0-4,(6|7),8.attn', tok: '3' };
    const address = formatAddress('lab', values);
    assert.match(address, /^#\/lab\?/);
    assert.ok(!/[\s"]/.test(address));
    assert.deepEqual(parseAddress(address), { view: 'lab', values });
});
await test('a broken address is no error', () => assert.equal(parseAddress('#/nothing?%zz=%').view, 'lab'));
await test('another view leaves out what is not its own', () => assert.ok(!formatAddress('orders', { text: 'secret', order: '1', res: 'a' }).includes('secret')));

const { csv } = await from('export.js');
await test('CSV quotes as RFC 4180 says', () => assert.equal(csv({ columns: ['a', 'b'], rows: [['x,y', 'he said "no"'], ['line\nbreak', null], [1.5, NaN]] }), 'a,b\r\n"x,y","he said ""no"""\r\n"line\nbreak",\r\n1.5,\r\n'));

const { number, fixed, percent, ticks } = await from('chart/axis.js');
for (const [v, text] of [[0, '0'], [1.23456, '1.23'], [-0.0123456, '−0.0123'], [12345.6, '12,346'], [1e7, '1.00e7'], [null, '–'], [NaN, '–'], [3.21e-6, '3.21e−6'], [999.4, '999']]) {
    await test(`number ${v}`, () => assert.equal(number(v), text));
}
await test('fixed', () => assert.deepEqual([fixed(0.5, 2, true), fixed(-0.001, 2, true), fixed(-1, 1)], ['+0.50', '0.00', '−1.0']));
await test('percent', () => assert.deepEqual([percent(0.371), percent(0.091)], ['37 %', '9.1 %']));
await test('ticks are round and inside', () => assert.deepEqual(ticks(-0.13, 1.02, 5), [0, 0.5, 1]));

const { units, unitValue, shown } = await from('views/tokens.js').catch(() => ({}));
await test('tokens join to words at spaces', () => {
    const words = units(['The', ' cap', 'tain', ' ', '192', '1', '.'], 'word');
    assert.deepEqual(words.map(w => w.text), ['The', ' captain', ' ', '1921.']);
    assert.deepEqual(words[1].tokens, [1, 2]);
    assert.equal(unitValue(words[1], [null, 1, 2]), 3);
    assert.equal(unitValue(words[0], [null]), null);
});
await test('white space is shown', () => assert.deepEqual([shown(' the'), shown(' '), shown('\n')], ['the', '␣', '⏎']));

const { amount, change, colourScale, missing } = await from('chart/theme.js');
const luminance = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const rgbOf = css => (css.startsWith('#') ? [1, 3, 5].map(i => parseInt(css.slice(i, i + 2), 16)) : css.match(/\d+/g).map(Number));
const contrast = (a, b) => (Math.max(luminance(a), luminance(b)) + 0.05) / (Math.min(luminance(a), luminance(b)) + 0.05);
await test('numbers on every colour of the scales have a contrast of 4.5 at least', () => {
    const scales = [colourScale('amount', 3), colourScale('change', 3), colourScale('amount', 3, { root: true }), colourScale('change', 3, { root: true })];
    for (let i = -4000; i <= 4000; i++) {
        const x = i / 4000;
        for (const colour of [change(x), amount(Math.abs(x)), missing, ...scales.map(scale => scale(3.1 * x))]) {
            assert.ok(contrast(rgbOf(colour.text), rgbOf(colour.fill)) >= 4.5, `${x}: ${colour.text} on ${colour.fill}`);
            assert.deepEqual(colour.rgb.map(Math.round), rgbOf(colour.fill)); /* a canvas's bytes, an SVG's attribute */
        }
    }
    for (const odd of [NaN, null, undefined]) assert.equal(scales[0](odd), missing);
});
await test('scales rise steadily in darkness, so that they read without hue', () => {
    for (const scale of [amount, change, x => change(-x)]) {
        for (let x = 0.01; x <= 1; x += 0.01) assert.ok(luminance(scale(x).rgb) < luminance(scale(x - 0.01).rgb));
    }
});

const { texts } = await from('texts.js');
await test('every text is there in both languages, with the same values to fill in', () => {
    for (const [key, entry] of Object.entries(texts)) {
        assert.equal(entry.length, 2, key);
        assert.ok(entry[0] && entry[1], key);
        const names = text => [...new Set([...text.matchAll(/\{(\w+)\}/g)].map(m => m[1]))].sort().join();
        assert.equal(names(entry[0]), names(entry[1]), key);
    }
});
await test('every text that a module asks for is there', () => {
    for (const path of sources.filter(p => p.endsWith('.js'))) {
        for (const [, key] of readFileSync(path, 'utf8').matchAll(/[^\w.]t\('([\w.]+)'/g)) assert.ok(key in texts, `${path}: ${key}`);
    }
});
await test('nothing is loaded from elsewhere, and no style or script stands in the markup', () => {
    for (const path of sources) {
        const text = readFileSync(path, 'utf8').replace(/http:\/\/www\.w3\.org\/[\w/]+/g, '').replace(/http:\/\/127\.0\.0\.1/g, '');
        assert.ok(!/https?:\/\//.test(text), path);
        assert.ok(!/\b(eval|Function)\(|innerHTML|document\.write/.test(text), path);
    }
    assert.ok(!/<script(?![^>]*src=)|<style|style=|\son\w+=/.test(readFileSync(join(page, 'index.html'), 'utf8')));
});
await test('modules are small and say what they own', () => {
    for (const path of sources.filter(p => /\.(js|css)$/.test(p))) {
        const text = readFileSync(path, 'utf8');
        const data = /texts?\.js$/.test(path);
        assert.ok(text.split('\n').length <= (data ? 800 : 400), `${path} is long`);
        assert.ok(text.startsWith(`/* ${path.split('/').pop()}: `), `${path} does not say what it is`);
    }
});

console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
