/* api.js: the JSON API (tools/web/API.md), seen from the page: results as files, live computations as requests that a newer one of the same slot
 * supersedes. Paths are relative, so that the page works under a prefix and from a folder of files. */

export class ApiError extends Error {
    constructor(status, text) {
        super(text);
        this.status = status;
    }
}
/* Thrown for a request that a newer one has replaced: nothing to show. */
export class Superseded extends Error {}

const PATIENCE_MS = 400; /* after this the progress of a running request is asked for */
const POLL_MS = 350;

export function createApi() {
    const client = `page-${Math.random().toString(36).slice(2, 12)}`;
    const running = new Map(); /* slot -> AbortController */
    const files = new Map(); /* path -> promise */
    let watchers = [];

    async function answer(response) {
        if (response.ok) return response;
        let text = `${response.status} ${response.statusText}`;
        try {
            text = (await response.json()).error || text;
        } catch { /* not from us: the status has to do */ }
        if (response.status === 409) throw new Superseded(text);
        throw new ApiError(response.status, text);
    }

    async function request(path, options) {
        let response;
        try {
            response = await fetch(path, { credentials: 'same-origin', ...options });
        } catch (e) {
            if (e.name === 'AbortError') throw new Superseded('aborted');
            throw new ApiError(0, '');
        }
        return answer(response);
    }

    const tell = progress => watchers.forEach(fn => fn(progress));
    async function watch(isOver) {
        await new Promise(done => setTimeout(done, PATIENCE_MS));
        while (!isOver()) {
            try {
                tell(await (await request(`api/progress.json?client=${client}`)).json());
            } catch { /* the request itself reports */ }
            await new Promise(done => setTimeout(done, POLL_MS));
        }
    }

    return {
        client,
        onprogress: fn => watchers.push(fn),

        /* A file that does not change while the page is open; asked for once. */
        file(path) {
            if (!files.has(path)) {
                const promise = request(path).then(r => (path.endsWith('.f32') ? r.arrayBuffer().then(b => new Float32Array(b)) : r.json()));
                promise.catch(() => files.delete(path));
                files.set(path, promise);
            }
            return files.get(path);
        },
        forget: () => files.clear(),

        /* A live computation. slot: a newer call with it aborts this one, here and in the server. Adds round_trip_ms to the answer. */
        async live(name, body, slot = name) {
            running.get(slot)?.abort();
            const abort = new AbortController();
            running.set(slot, abort);
            let over = false;
            const began = performance.now();
            watch(() => over || abort.signal.aborted);
            try {
                const response = await request(`api/${name}`, {
                    method: 'POST', signal: abort.signal, headers: { 'Content-Type': 'application/json' },
                    body: JSON.stringify({ ...body, client, slot }),
                });
                const result = await response.json();
                result.round_trip_ms = performance.now() - began;
                return result;
            } catch (e) {
                if (abort.signal.aborted || e.name === 'AbortError') throw new Superseded('aborted');
                throw e;
            } finally {
                over = true;
                if (running.get(slot) === abort) {
                    running.delete(slot);
                    tell(null);
                }
            }
        },
        async post(name, body) {
            return (await request(`api/${name}`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) })).json();
        },
    };
}

/* {"dtype", "shape", "base64"} as { rows, cols, values } (further dimensions are folded into cols' left). */
export function matrix(m) {
    if (!m) return null;
    const bytes = Uint8Array.from(atob(m.base64), c => c.charCodeAt(0));
    return { shape: m.shape, rows: m.shape[0], cols: m.shape[m.shape.length - 1], values: new Float32Array(bytes.buffer) };
}
