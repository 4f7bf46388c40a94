// The page of a lab's program, stepped through and back.
import { $, make, message, registers, visible } from './parts.js';
import { ask, follow } from './feed.js';
import { walkForm } from './walk.js';

let canGoBack = false, waiting = 0, done = Promise.resolve(), end = null;

function about(lab) {
  canGoBack = lab.canGoBack;
  $('subject').textContent = `lab ${lab.number}: ${lab.title}`;
  document.title = `kvmsharp lab ${lab.number}`;
  $('source').replaceChildren(...lab.source.map((line, i) => {
    const item = make('li'), at = line.indexOf(';');
    item.value = i + 1;
    item.append(make('span', at < 0 ? line : line.slice(0, at)), make('span', at < 0 ? '' : line.slice(at), 'comment'));
    if (line.includes('Your turn')) item.classList.add('task');
    return item;
  }));
}

function view(now) {
  end = now.end;
  const badge = $('state');
  badge.dataset.state = end ? 'ended' : 'stopped';
  badge.textContent = end ? `the program ${end}` : `on ${now.engine}, after ${now.steps.toLocaleString('en')} step${now.steps === 1 ? '' : 's'}`;
  $('instruction').textContent = end ? '' : `next: ${now.instruction} at ${now.address}`;
  for (const item of $('source').children) {
    const current = item.value === now.line && !end;
    item.classList.toggle('current', current);
    current ? item.setAttribute('aria-current', 'step') : item.removeAttribute('aria-current');
    if (current) item.scrollIntoView({ block: 'nearest' });
  }
  $('registers-title').textContent = now.vcpus > 1 ? `Registers of vCPU ${now.vcpu}` : 'Registers';
  $('registers').replaceChildren(...registers(now.registers.map(({ name, value, changed }) => [name, value, changed])));
  $('exits-note').textContent = now.exits ? `${now.exits.toLocaleString('en')} so far${now.came ? ', the last one in this step' : ''}` : 'none so far';
  $('rows').replaceChildren(...now.recent.map((exit, i) => {
    const row = make('tr', '', now.came && i === now.recent.length - 1 ? 'chosen' : '');
    for (const text of [exit.number, exit.line || '', exit.reason, exit.what]) row.append(make('td', text));
    return row;
  }));
  $('scroll').scrollTop = $('scroll').scrollHeight;
  $('memory').replaceChildren(...now.memory.map(dump));
  $('console').replaceChildren(...visible(now.console));
  buttons(now.steps);
}

function buttons(steps) {
  $('back').disabled = !canGoBack || steps === 0;
  $('back').title = canGoBack ? '' : 'steps can be undone on the software engine only';
  for (const id of ['step', 'continue', 'end']) $(id).disabled = end !== null;
}

/** Bytes as lines of sixteen, with their characters. */
function dump({ name, address, bytes }) {
  const part = make('div'), list = bytes.match(/../g) ?? [];
  if (name) part.append(make('h3', name));
  if (!list.length) part.append(make('p', `${address}: no memory there`, 'note'));
  const text = [];
  for (let at = 0; at < list.length; at += 16) {
    const line = list.slice(at, at + 16), place = (BigInt(address) + BigInt(at)).toString(16).padStart(6, '0');
    const characters = line.map(byte => { const code = parseInt(byte, 16); return code >= 0x20 && code < 0x7f ? String.fromCharCode(code) : '·'; }).join('');
    text.push(`${place}  ${line.join(' ').padEnd(47)}  ${characters}`);
  }
  part.append(make('pre', text.join('\n')));
  return part;
}

/** One after the other: who types fast loses no step, and who holds a key down does not pile them up. */
function act(command) {
  if (waiting > 8) return;
  waiting++;
  done = done.then(async () => {
    try {
      if (!$(command).disabled) await ask(command);
      message('');
      if ($('place').value) await look();
    } catch (error) {
      message(error.message);
    }
    waiting--;
  });
}

async function look() {
  try {
    $('shown').replaceChildren(dump({ ...await ask('memory', { address: $('place').value }), name: '' }));
  } catch (error) {
    $('shown').replaceChildren(make('p', error.message, 'message'));
  }
}

const address = walkForm($('walk'));
for (const id of ['restart', 'back', 'step', 'continue', 'end', 'quit']) $(id).addEventListener('click', () => act(id));
$('look').addEventListener('submit', event => { event.preventDefault(); look(); });
addEventListener('keydown', event => {
  if (event.target.matches('input')) { if (event.key === 'Escape') event.target.blur(); return; }
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const command = { s: 'step', c: 'continue', b: 'back', e: 'end', r: 'restart' }[event.key];
  if (command) act(command);
  else if (event.key === ' ' && event.target.tagName !== 'BUTTON') act('step');
  else if (event.key === 'g') address.focus();
  else if (event.key === 'm') $('place').focus();
  else return;
  event.preventDefault();
});

follow({
  about, view,
  gone: () => {
    $('state').textContent = 'kvmsharp has ended';
    for (const button of document.querySelectorAll('.buttons button')) button.disabled = true;
  },
});
