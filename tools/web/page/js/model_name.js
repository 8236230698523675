/* model_name.js: how the page names a model, by the rule of experiments/model_name.h: the last part of what was typed, of a folder in
 * Hugging Face's cache the repository's name, of a .gguf file its stem. */

export function modelName(typed) {
    const parts = typed.split('/').filter(Boolean), last = parts.length - 1;
    if (last < 1) return (parts[0] ?? '').replace(/(?<=.)\.gguf$/, '');
    const cached = /^models--(?:(?:(?!--).)+--)?(.+)$/.exec(parts[last - 2] ?? '');
    if (parts[last - 1] === 'snapshots' && cached) return cached[1];
    const name = parts[last].replace(/(?<=.)\.gguf$/, '');
    return name === 'model' ? `${parts[last - 1]}/${name}` : name;
}
