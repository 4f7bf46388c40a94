// The walk of page tables: an address is typed, each level's entry shown.
import { make } from './parts.js';
import { ask } from './feed.js';

/** Puts the form into an element. `values` gives what else the command is told. */
export function walkForm(element, values = () => ({})) {
  const form = make('form'), label = make('label', 'Address'), input = make('input'), button = make('button', 'Walk'), list = make('ol', '', 'walk');
  input.id = 'address';
  label.htmlFor = 'address';
  input.placeholder = '0xffffffff81000000';
  input.spellcheck = false;
  input.setAttribute('aria-keyshortcuts', 'g');
  list.setAttribute('aria-live', 'polite');
  form.append(label, input, button);
  element.append(form, list);
  form.addEventListener('submit', async event => {
    event.preventDefault();
    try {
      list.replaceChildren(...steps(await ask('walk', { ...values(), address: input.value })));
    } catch (error) {
      list.replaceChildren(make('li', error.message, 'none'));
    }
  });
  return input;
}

function steps(walk) {
  const items = walk.levels.map(level => {
    const present = !level.flags.includes('not present');
    const item = make('li', '', present ? '' : 'none');
    item.append(make('b', `${level.name}[${level.index}]`), ` ${level.value}`, make('small', `at ${level.at}: ${level.flags.join(', ')}`));
    return item;
  });
  const end = make('li', '', walk.physical ? '' : 'none');
  if (!walk.paging) end.append('paging is off: the address is physical');
  else if (walk.physical) end.append(make('b', 'physical'), ` ${walk.physical}`);
  else end.append(`${walk.address} is not mapped`);
  const root = make('li');
  root.append(make('b', 'CR3'), ` ${walk.cr3}`);
  return walk.paging ? [root, ...items, end] : [end];
}
