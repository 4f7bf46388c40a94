// The page of a guest that runs, or of a trace of one.
import { $, make, message, registers, soon, visible } from './parts.js';
import { ask, follow } from './feed.js';
import { walkForm } from './walk.js';
import { flame, gantt, legend, range, timeAt, timeline } from './charts.js';

const mostExits = 20000, mostSamples = 20000, mostConsole = 4000, rowsAtOnce = 120;
let exits, samples, origin, shown, at, following, lost, dropped, state, live;

function clear() {
  [exits, samples, origin, shown, at, following, lost, dropped, state, live] = [[], [], null, [], -1, true, 0, 0, '', null];
  $('console').replaceChildren();
}

const words = exit => `${exit.number} ${exit.reason} vcpu${exit.vcpu} ${exit.device ?? ''} ${exit.symbol ?? ''} ${exit.instruction} ${exit.did} ${exit.address ?? ''} ${exit.rip}`.toLowerCase();
const last = () => Math.max(exits.at(-1)?.timeNs ?? 0, samples.at(-1)?.timeNs ?? 0, 1e6);

function matches() {
  const wanted = $('filter').value.toLowerCase().split(' ').filter(Boolean);
  return wanted.length ? exit => { const text = words(exit); return wanted.every(word => text.includes(word)); } : () => true;
}

function take(list) {
  const fits = matches(), chosen = shown[at];
  for (const exit of list) {
    if (exit.lost !== undefined) { lost = exit.lost; continue; }
    origin ??= exit.timeNs;
    exit.timeNs -= origin;
    exits.push(exit);
    if (fits(exit)) shown.push(exit);
  }
  if (exits.length > mostExits) {
    exits = exits.slice(-mostExits);
    shown = exits.filter(fits);
    at = following ? shown.length - 1 : Math.max(0, shown.indexOf(chosen));
  }
  if (following || at < 0) at = shown.length - 1;
  redraw();
}

function summary() {
  const cost = shown.reduce((sum, exit) => sum + exit.costNs, 0);
  const parts = [`${shown.length.toLocaleString('en')} exits shown`, `${(cost / 1e6).toFixed(1)} ms in the VMM`];
  if (lost) parts.push(`${lost.toLocaleString('en')} left away: the guest does not wait for this page`);
  if (dropped) parts.push(`${dropped} updates missed`);
  $('summary').textContent = parts.join(', ');
}

function rows() {
  const first = Math.max(0, Math.min(at - rowsAtOnce / 2, shown.length - rowsAtOnce));
  $('rows').replaceChildren(...shown.slice(first, first + rowsAtOnce).map((exit, i) => {
    const row = make('tr', '', first + i === at ? 'chosen' : '');
    if (first + i === at) row.setAttribute('aria-selected', 'true');
    for (const text of [exit.number, (exit.timeNs / 1e6).toFixed(3), exit.vcpu, exit.reason, exit.symbol ?? exit.rip, exit.did, (exit.costNs / 1e3).toFixed(1)]) row.append(make('td', text));
    row.addEventListener('click', () => choose(first + i));
    return row;
  }));
  document.querySelector('tr.chosen')?.scrollIntoView({ block: 'nearest' });
}

function details() {
  const exit = shown[at];
  $('details').replaceChildren();
  if (!exit) return;
  const lines = [['number', `${exit.number} on vCPU ${exit.vcpu}`], ['KVM', exit.kvm], ['VT-x', exit.vmx], ['AMD-V', exit.svm], ['manuals', [exit.vmxClause, exit.svmClause].filter(Boolean).join('; ')],
    ['at', [exit.rip, exit.symbol].filter(Boolean).join(' ')], ['code', exit.instruction], ['done', exit.did], ['took', `${(exit.costNs / 1e3).toFixed(1)} µs`]];
  for (const [name, text] of lines) {
    const value = make('dd');
    value.append(...visible(text ?? ''));
    if (text) $('details').append(make('dt', name), value);
  }
  showRegisters(exit);
}

function showRegisters(exit) {
  if (live) {
    $('registers-note').textContent = `of vCPU ${live.vcpu}, now`;
    $('registers').replaceChildren(...registers(live.list.map(({ name, value }) => [name, value, live.before && live.before.get(name) !== value])));
    return;
  }
  $('registers-note').textContent = 'at this exit';
  const values = new Map();
  for (let i = exits.lastIndexOf(exit); i >= 0 && values.size < 21; i--) {
    if (exits[i].vcpu !== exit.vcpu) continue;
    for (const [name, value] of Object.entries(exits[i].changed)) if (!values.has(name)) values.set(name, value);
  }
  const order = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15', 'rflags', 'cr0', 'cr2', 'cr3', 'cr4'];
  $('registers').replaceChildren(...registers(order.filter(name => values.has(name)).map(name => [name, values.get(name), Object.hasOwn(exit.changed, name)])));
}

function charts() {
  if (following) [range.from, range.to] = [Math.max(0, last() - Math.max(range.to - range.from, 5e9)), Math.max(last(), 1e6)];
  const vcpus = [...new Set(exits.map(exit => exit.vcpu))].sort((a, b) => a - b);
  timeline(shown, vcpus, following ? null : shown[at]);
  gantt(samples);
}

function draw() {
  summary(); charts(); flame(shown); rows(); details();
  legend($('legend'), [...new Set(exits.map(exit => exit.reason))].sort());
  legend($('cpus'), [...new Set(samples.map(sample => sample.cpu))].sort((a, b) => a - b).map(cpu => `CPU ${cpu}`));
}

const redraw = soon(draw, 150);

function choose(i) {
  if (!shown.length) return;
  at = Math.max(0, Math.min(i, shown.length - 1));
  live = null;
  setFollowing(false);
  const exit = shown[at];
  if (exit.timeNs < range.from || exit.timeNs > range.to) range.zoom(1, exit.timeNs, last());
  charts(); rows(); details();
}

function setFollowing(on) {
  following = on;
  $('follow').setAttribute('aria-pressed', on);
  if (on) { at = shown.length - 1; live = null; redraw(); }
}

function print({ text, dropped: bytes }) {
  const pre = $('console'), bottom = pre.scrollHeight - pre.scrollTop - pre.clientHeight < 40;
  pre.append(...visible(text));
  if (bytes) pre.append(make('span', `[${bytes} bytes were dropped]`, 'control'));
  while (pre.childNodes.length > mostConsole) pre.firstChild.remove();
  if (bottom) pre.scrollTop = pre.scrollHeight;
}

function setState({ state: name, text }) {
  state = name;
  const badge = $('state');
  badge.dataset.state = name;
  badge.textContent = text ? `${name}: ${text}` : name;
  $('stop').firstChild.textContent = name === 'stopped' ? 'Go on' : 'Stop';
  $('stop').disabled = !['running', 'stopped'].includes(name);
  $('step').disabled = name !== 'stopped';
}

function about(it) {
  $('subject').textContent = it.mode === 'replay' ? `trace ${it.name}` : `${it.kernel.split('/').at(-1)} on ${it.engine}, ${it.vcpus} vCPU${it.vcpus > 1 ? 's' : ''}, ${Math.round(it.memoryBytes / 1048576)} MiB`;
  document.title = `kvmsharp ${$('subject').textContent}`;
  document.body.classList.toggle('replay', it.mode === 'replay');
}

function memory(map) {
  const list = make('div', '', 'map');
  for (const part of map) list.append(make('span', `${part.start}–`, `swatch ${part.kind}`), make('span', `${part.end}  ${part.name}`));
  $('map').replaceChildren(list);
}

function counts(it) {
  const list = make('dl');
  for (const [name, count] of [...Object.entries(it.exits), ...Object.entries(it.completions).map(([name, count]) => [`completed ${name}`, count])])
    list.append(make('dt', name), make('dd', count.toLocaleString('en')));
  for (const place of it.hotRips.slice(0, 5)) list.append(make('dt', 'hot'), make('dd', `${place.rip}, ${place.samples} of ${it.ripSamples}`));
  $('counts').replaceChildren(list);
}

async function act(work) {
  try { await work(); message(''); } catch (error) { message(error.message); }
}

const vcpu = () => shown[at]?.vcpu ?? 0;

async function look() {
  const before = live && new Map(live.list.map(({ name, value }) => [name, value]));
  live = { vcpu: vcpu(), before, list: await ask('registers', { vcpu: vcpu() }) };
  details();
  if (!shown[at]) showRegisters();
}

const stop = () => act(async () => {
  if (state === 'stopped') { live = null; await ask('continue'); setFollowing(true); return; }
  await ask('stop');
  await look();
});
const step = () => act(async () => { await ask('step', { vcpu: vcpu() }); await look(); });

clear();
const address = walkForm($('walk'), () => ({ vcpu: vcpu() }));
$('stop').addEventListener('click', stop);
$('step').addEventListener('click', step);
$('follow').addEventListener('click', () => setFollowing(!following));
$('quit').addEventListener('click', () => act(() => ask('quit')));
$('filter').addEventListener('input', () => { const fits = matches(); shown = exits.filter(fits); at = shown.length - 1; redraw(); });
$('timeline').addEventListener('click', event => {
  const ns = timeAt(event.offsetX, event.target.clientWidth);
  let best = 0;
  shown.forEach((exit, i) => { if (Math.abs(exit.timeNs - ns) < Math.abs(shown[best].timeNs - ns)) best = i; });
  choose(best);
});
addEventListener('resize', redraw);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
addEventListener('keydown', event => {
  if (event.target.matches('input, select')) { if (event.key === 'Escape') event.target.blur(); return; }
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const move = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1, PageDown: 50, PageUp: -50, Home: -1e9, End: 1e9 }[event.key];
  const middle = shown[at] && !following ? shown[at].timeNs : (range.from + range.to) / 2;
  if (move) choose(at + move);
  else if (event.key === '+' || event.key === '-') { setFollowing(false); range.zoom(event.key === '+' ? 0.5 : 2, middle, last()); charts(); }
  else if (event.key === 'ArrowLeft' || event.key === 'ArrowRight') { setFollowing(false); range.move(event.key === 'ArrowLeft' ? -0.25 : 0.25); charts(); }
  else if (event.key === 'f') setFollowing(!following);
  else if (event.key === '/') $('filter').focus();
  else if (event.key === 'g') address.focus();
  else if (event.key === 's' && !$('step').disabled) step();
  else if (event.key === ' ' && event.target.tagName !== 'BUTTON' && !$('stop').disabled) stop();
  else return;
  event.preventDefault();
});

follow({
  open: clear,
  gone: () => setState({ state: 'gone', text: 'kvmsharp has ended' }),
  about, memory, counts, exits: take, console: print, state: setState,
  schedule: list => { if (origin !== null) { samples.push(...list.map(s => ({ ...s, timeNs: s.timeNs - origin }))); samples = samples.slice(-mostSamples); redraw(); } },
  lost: count => { lost = count; redraw(); },
  dropped: count => { dropped = count; redraw(); },
});
