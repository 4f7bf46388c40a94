// The page of all machines. It asks the same API as every other client, by one command.
import { $, make, message, soon, visible } from './parts.js';
import { ask, follow } from './feed.js';

const active = ['starting', 'running', 'paused', 'stopping'];
let machines = [], chosen = null, before = null;

/** What a route of the API answers; an error that says why not. */
async function call(method, path, body) {
  const { status, body: answer } = await ask('call', { method, path, body });
  if (status >= 400) throw new Error(answer?.error?.detail ?? `status ${status}`);
  return answer;
}

async function attempt(work) {
  try {
    await work();
    message();
  } catch (error) {
    message(error.message);
  }
}

const list = () => attempt(async () => {
  machines = (await call('GET', '/vms')).vms;
  if (!machines.some(vm => vm.name === chosen)) chosen = machines[0]?.name ?? null;
  const running = machines.filter(vm => active.includes(vm.state)).length;
  $('machines-note').textContent = `${machines.length} in all, ${running} of them run`;
  $('rows').replaceChildren(...machines.map(vm => {
    const row = make('tr', '', vm.name === chosen ? 'chosen' : '');
    if (vm.name === chosen) row.setAttribute('aria-current', 'true');
    const badge = make('span', vm.state, 'state');
    badge.dataset.state = vm.state;
    const state = make('td');
    state.append(badge);
    row.append(make('td', vm.name), state, make('td', new Date(vm.since).toLocaleString()), make('td', vm.generation, 'number'), make('td', vm.end ? `${vm.end.outcome}, ${vm.end.how}` : ''));
    row.addEventListener('click', () => choose(vm.name));
    return row;
  }));
  buttons();
});
const listSoon = soon(() => list().then(look));

const current = () => machines.find(vm => vm.name === chosen);

function choose(name) {
  chosen = name;
  before = null;
  list().then(look);
}

function buttons() {
  const state = current()?.state;
  $('start').disabled = !state || active.includes(state);
  $('stop').disabled = $('kill').disabled = !active.includes(state);
  $('pause').disabled = state !== 'running' && state !== 'paused';
  $('pause').firstChild.textContent = state === 'paused' ? 'Resume' : 'Pause';
  for (const part of $('type').querySelectorAll('input, button')) part.disabled = state !== 'running';
}

function facts(place, pairs) {
  place.replaceChildren(...pairs.flatMap(([name, value]) => [make('dt', name), make('dd', value)]));
}

const size = bytes => `${(bytes / 1048576).toLocaleString('en', { maximumFractionDigits: 1 })} MiB`;

/** Shows the chosen one; what only a running one tells is asked of it. */
const look = () => attempt(async () => {
  const vm = current();
  const lives = vm && (vm.state === 'running' || vm.state === 'paused');
  $('machine-title').textContent = vm?.name ?? 'Machine';
  facts($('machine'), vm ? [['state', vm.state], ['made', new Date(vm.created).toLocaleString()], ['restart', vm.restart], ['with the host', vm.autostart ? 'yes' : 'no'], ['process', vm.worker?.id ?? '–'], ['confined by', vm.confinement.join(', ') || '–'], ['kernel', vm.config['boot-source'].kernel_image_path]] : []);
  const [stats, map, text] = await Promise.all([lives ? call('GET', `/vms/${vm.name}/stats`) : null, lives ? call('GET', `/vms/${vm.name}/map`) : null, vm ? call('GET', `/vms/${vm.name}/logs?tail=16384`) : '']);
  if (vm?.name !== chosen) return;
  numbers(stats, map);
  facts($('memory'), vm ? [['configured', size(vm.config['machine-config'].mem_size_mib * 1048576)], ['given by the host', map ? size(map.guestResidentBytes) : '–']] : []);
  const pane = $('console').parentElement, atEnd = pane.scrollTop + pane.clientHeight >= pane.scrollHeight - 4;
  $('console').replaceChildren(...visible(text));
  if (atEnd) pane.scrollTop = pane.scrollHeight;
});

function numbers(stats, map) {
  const seconds = before && stats ? (stats.upMs - before.upMs) / 1000 : 0;
  const rate = (now, then) => seconds > 0 ? Math.max(0, (now - (then ?? 0)) / seconds) : null;
  $('exits').replaceChildren(...Object.entries(stats?.exits ?? {}).sort((a, b) => b[1] - a[1]).map(([reason, count]) => {
    const row = make('tr'), each = rate(count, before?.exits[reason]);
    row.append(make('td', reason), make('td', count.toLocaleString('en'), 'number'), make('td', each === null ? '' : `${Math.round(each).toLocaleString('en')}/s`, 'number'));
    return row;
  }));
  $('exits-note').textContent = stats ? stats.engine : '';
  $('vcpus').replaceChildren(...(stats?.vcpus ?? []).map((vcpu, i) => {
    const row = make('tr'), share = rate(vcpu.runMs, before?.vcpus[i]?.runMs);
    row.append(make('td', vcpu.index), make('td', `${(vcpu.runMs / 1000).toFixed(1)} s`, 'number'), make('td', share === null ? '' : `${Math.round(share / 10)} %`, 'number'), make('td', map?.vcpus?.[i]?.cpu ?? '', 'number'));
    return row;
  }));
  before = stats;
}

/** Has something done, and waits until it is. */
const act = verb => attempt(async () => {
  if (!chosen) return;
  const { id } = await call('POST', `/vms/${chosen}/${verb}`);
  const { state, error } = await call('GET', `/operations/${id}?wait=60000`);
  if (state !== 'done') throw new Error(error ?? `${verb}: ${state}`);
});

const deeds = {
  start: () => act('start'),
  stop: () => act('stop'),
  kill: () => act('kill'),
  pause: () => act(current()?.state === 'paused' ? 'resume' : 'pause'),
};
for (const [id, deed] of Object.entries(deeds)) $(id).addEventListener('click', deed);

$('type').addEventListener('submit', event => {
  event.preventDefault();
  const text = `${$('line').value}\r`;
  $('line').value = '';
  attempt(() => call('POST', `/vms/${chosen}/console`, text)).then(look);
});

function step(by) {
  const at = machines.findIndex(vm => vm.name === chosen) + by;
  if (machines[at]) choose(machines[at].name);
}

const keys = { j: () => step(1), ArrowDown: () => step(1), k: () => step(-1), ArrowUp: () => step(-1), s: () => $('start').click(), p: () => $('pause').click(), x: () => $('stop').click(), c: () => $('line').focus() };
addEventListener('keydown', event => {
  if (event.key === 'Escape') document.activeElement.blur();
  if (event.ctrlKey || event.metaKey || event.altKey || ['INPUT', 'BUTTON'].includes(document.activeElement.tagName) || !Object.hasOwn(keys, event.key)) return;
  event.preventDefault();
  keys[event.key]();
});

follow({
  open() {
    $('state').textContent = 'live';
    $('state').dataset.state = 'running';
    listSoon();
  },
  vm(told) {
    const row = make('tr');
    row.append(make('td', new Date(told.time).toLocaleTimeString()), make('td', told.vm), make('td', told.event), make('td', told.detail ?? ''));
    $('events').prepend(row);
    while ($('events').children.length > 50) $('events').lastChild.remove();
    listSoon();
  },
  gone() {
    $('state').textContent = 'the manager has ended';
    $('state').dataset.state = 'stopped';
    clearInterval(timer);
  },
});
const timer = setInterval(() => { if (!document.hidden) look(); }, 1000);
