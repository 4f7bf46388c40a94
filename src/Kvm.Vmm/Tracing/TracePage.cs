namespace Kvm.Vmm.Tracing;

/// <summary>What <see cref="HtmlTraceFormat"/>'s page looks like and does. Every text of a trace is set as text, never as markup.</summary>
internal static class TracePage
{
    /// <summary>SHA-256 of <see cref="Style"/>, by which the page's policy knows it. Written here, because hashing needs a library that a host may lack; a test compares.</summary>
    public const string StyleHash = "VlFWnEr99172EYcLH7sPvUIpritQzwlrab5cSIuhZMc=";

    /// <summary>SHA-256 of <see cref="Script"/>.</summary>
    public const string ScriptHash = "v3OfcrYxpv4rmSstCZhgzQ9qZj+ZMDxci2DeeYUUB0o=";

    /// <summary>Light and dark, as the reader has it.</summary>
    public const string Style = """

        :root { color-scheme: light dark; --line: #8886; --soft: #8882; --mark: light-dark(#0b57d0, #8ab4f8); }
        body { font: 14px/1.4 system-ui, sans-serif; margin: 0; display: grid; grid-template: auto auto auto minmax(0, 1fr) / minmax(0, 1fr); height: 100vh; }
        header { padding: 8px 12px; display: flex; gap: 12px; align-items: baseline; flex-wrap: wrap; }
        h1 { font-size: 16px; margin: 0; }
        input { font: inherit; width: 24em; }
        canvas { width: 100%; height: 120px; border-block: 1px solid var(--line); cursor: crosshair; }
        canvas:focus, tr:focus { outline: 2px solid var(--mark); outline-offset: -2px; }
        #flame { padding: 4px 12px; }
        .level { display: flex; height: 20px; margin-bottom: 1px; }
        .level span { overflow: hidden; white-space: nowrap; text-overflow: ellipsis; font-size: 12px; padding: 0 3px; box-sizing: border-box; border-right: 1px solid Canvas; color: #000; }
        main { display: grid; grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); min-height: 0; border-top: 1px solid var(--line); }
        #list { overflow: auto; }
        table { border-collapse: collapse; width: 100%; font: 12px/1.5 ui-monospace, monospace; }
        td, th { padding: 0 8px; text-align: left; white-space: nowrap; }
        th { position: sticky; top: 0; background: Canvas; }
        tr.chosen { background: color-mix(in srgb, var(--mark) 25%, transparent); }
        aside { overflow: auto; padding: 8px 12px; border-left: 1px solid var(--line); font: 12px/1.5 ui-monospace, monospace; }
        dt { font-weight: 600; } dd { margin: 0 0 4px 0; overflow-wrap: anywhere; }
        #registers { white-space: pre; display: grid; grid-template-columns: repeat(auto-fill, minmax(15em, 1fr)); gap: 0 12px; }
        .changed { color: var(--mark); font-weight: 600; }

        """;

    /// <summary>Its parts.</summary>
    public const string Body = """
        <header><h1>Exits of a guest</h1><span id="summary"></span><label>Filter <input id="filter" placeholder="io COM1 vcpu0 serial8250 …"></label>
        <small>Keys: j, k or arrows: next, before; Page Up, Page Down; +, −: zoom; /: filter</small></header>
        <canvas id="timeline" tabindex="0" aria-label="Exits over time, a lane for each vCPU"></canvas>
        <section id="flame" aria-label="Where the time of the VMM went: reason, device, function"></section>
        <main><div id="list"><table><thead><tr><th>#</th><th>time, ms</th><th>vCPU</th><th>reason</th><th>function</th><th>what was done</th><th>us</th></tr></thead><tbody id="rows"></tbody></table></div>
        <aside><dl id="details"></dl><h2>Registers</h2><div id="registers"></div></aside></main>
        """;

    /// <summary>Reads the exits, filters, draws.</summary>
    public const string Script = """

        'use strict';
        addEventListener('DOMContentLoaded', () => {
            const $ = id => document.getElementById(id);
            const all = JSON.parse($('exits').textContent), lost = Number($('lost').value);
            const rowsAtOnce = 200;
            let shown = all, at = 0, from = 0, to = 1;
            const colours = {};
            const colour = name => colours[name] ??= `hsl(${(Object.keys(colours).length * 67 + 205) % 360} 65% 62%)`;
            const make = (tag, text, name) => { const e = document.createElement(tag); e.textContent = text; if (name) e.className = name; return e; };
            const words = e => `${e.number} ${e.reason} vcpu${e.vcpu} ${e.device ?? ''} ${e.symbol ?? ''} ${e.instruction} ${e.did} ${e.address ?? ''}`.toLowerCase();
            const start = all.reduce((least, e) => Math.min(least, e.timeNs), Infinity);
            const end = all.reduce((most, e) => Math.max(most, e.timeNs + e.costNs - start), 1);
            const vcpus = [...new Set(all.map(e => e.vcpu))].sort((a, b) => a - b);
            for (const e of all) colour(e.reason);

            function summary() {
                const cost = shown.reduce((sum, e) => sum + e.costNs, 0);
                $('summary').textContent = `${shown.length} of ${all.length} exits, ${(cost / 1e6).toFixed(2)} ms in the VMM of ${(end / 1e6).toFixed(1)} ms` + (lost ? `, ${lost} were left away` : '');
            }

            function timeline() {
                const canvas = $('timeline'), box = canvas.getBoundingClientRect(), scale = devicePixelRatio || 1;
                canvas.width = box.width * scale; canvas.height = box.height * scale;
                const g = canvas.getContext('2d'), lane = canvas.height / Math.max(1, vcpus.length), x = ns => ((ns - start) / end - from) / (to - from) * canvas.width;
                for (const e of shown) {
                    const left = x(e.timeNs), width = Math.max(scale, x(e.timeNs + e.costNs) - left);
                    if (left + width < 0 || left > canvas.width) continue;
                    g.fillStyle = colour(e.reason);
                    g.fillRect(left, vcpus.indexOf(e.vcpu) * lane + 2, width, lane - 4);
                }
                if (shown[at]) {
                    g.fillStyle = getComputedStyle(canvas).color;
                    g.fillRect(x(shown[at].timeNs), 0, scale, canvas.height);
                }
            }

            function flame() {
                const total = shown.reduce((sum, e) => sum + e.costNs, 0) || 1, keys = [e => e.reason, e => e.device ?? '', e => (e.symbol ?? '').split('+')[0]];
                const levels = [[], [], []];
                (function part(exits, depth) {
                    if (depth === keys.length) return;
                    const lists = new Map();
                    for (const e of exits) { const k = keys[depth](e); if (!lists.has(k)) lists.set(k, []); lists.get(k).push(e); }
                    const costs = [...lists].map(([name, list]) => [name, list, list.reduce((sum, e) => sum + e.costNs, 0)]);
                    for (const [name, list, cost] of costs.sort((a, b) => b[2] - a[2])) {
                        levels[depth].push([name, cost, list[0].reason]);
                        part(list, depth + 1);
                    }
                })(shown, 0);
                $('flame').replaceChildren(...levels.map(level => {
                    const row = make('div', '', 'level');
                    for (const [name, cost, reason] of level) {
                        if (cost / total < 0.002) continue;
                        const bar = make('span', name);
                        bar.title = `${name}: ${(cost / 1e6).toFixed(3)} ms`;
                        bar.style.width = `${100 * cost / total}%`;
                        bar.style.background = colour(reason);
                        row.append(bar);
                    }
                    return row;
                }));
            }

            function list() {
                const first = Math.max(0, Math.min(at - rowsAtOnce / 2, shown.length - rowsAtOnce));
                $('rows').replaceChildren(...shown.slice(first, first + rowsAtOnce).map((e, i) => {
                    const row = make('tr', '', first + i === at ? 'chosen' : '');
                    for (const text of [e.number, (e.timeNs / 1e6).toFixed(3), e.vcpu, e.reason, e.symbol ?? e.rip, e.did, (e.costNs / 1e3).toFixed(1)]) row.append(make('td', text));
                    row.addEventListener('click', () => choose(first + i));
                    return row;
                }));
                document.querySelector('tr.chosen')?.scrollIntoView({ block: 'nearest' });
            }

            function details() {
                const e = shown[at];
                $('details').replaceChildren(); $('registers').replaceChildren();
                if (!e) return;
                const rows = [['exit', `#${e.number}, vcpu${e.vcpu}, ${(e.timeNs / 1e6).toFixed(6)} ms`], ['KVM', e.kvm], ['VT-x', e.vmx], ['AMD-V', e.svm], ['manuals', [e.vmxClause, e.svmClause].filter(Boolean).join('; ')],
                    ['at', `${e.rip} ${e.symbol ?? ''}`], ['instruction', e.instruction], ['done', e.did], ['cost', `${(e.costNs / 1e3).toFixed(1)} us`]];
                for (const [name, text] of rows) if (text) $('details').append(make('dt', name), make('dd', text));
                const values = {};
                for (let i = all.indexOf(e); i >= 0; i--) if (all[i].vcpu === e.vcpu) for (const [name, value] of Object.entries(all[i].changed)) values[name] ??= value;
                for (const [name, value] of Object.entries(values)) $('registers').append(make('span', `${name.padEnd(6)} ${value}`, name in e.changed ? 'changed' : ''));
            }

            function choose(i) { at = Math.max(0, Math.min(i, shown.length - 1)); list(); details(); timeline(); }

            function filter() {
                const wanted = $('filter').value.toLowerCase().split(' ').filter(Boolean);
                shown = wanted.length ? all.filter(e => { const text = words(e); return wanted.every(w => text.includes(w)); }) : all;
                summary(); flame(); choose(0);
            }

            function zoom(factor) {
                const middle = shown[at] ? (shown[at].timeNs - start) / end : (from + to) / 2, width = Math.min(1, (to - from) * factor);
                from = Math.max(0, Math.min(1 - width, middle - width / 2)); to = from + width;
                timeline();
            }

            $('timeline').addEventListener('click', event => {
                const ns = (from + event.offsetX / event.target.clientWidth * (to - from)) * end + start;
                let best = 0;
                shown.forEach((e, i) => { if (Math.abs(e.timeNs - ns) < Math.abs(shown[best].timeNs - ns)) best = i; });
                choose(best);
            });
            $('filter').addEventListener('input', filter);
            addEventListener('resize', timeline);
            addEventListener('keydown', event => {
                if (event.target === $('filter')) { if (event.key === 'Escape') $('filter').blur(); return; }
                const step = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1, PageDown: 50, PageUp: -50, Home: -shown.length, End: shown.length }[event.key];
                if (step) choose(at + step);
                else if (event.key === '+') zoom(0.5);
                else if (event.key === '-') zoom(2);
                else if (event.key === '/') $('filter').focus();
                else return;
                event.preventDefault();
            });
            filter();
        });

        """;
}
