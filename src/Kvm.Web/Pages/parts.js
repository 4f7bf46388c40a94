// What the views are made of. Whatever a guest wrote becomes text here, never markup.
export const $ = id => document.getElementById(id);

/** An element with text in it. */
export function make(tag, text = '', name = '') {
  const element = document.createElement(tag);
  element.textContent = text;
  if (name) element.className = name;
  return element;
}

// C0, DEL, C1, and what reorders or hides text (Unicode, UAX #9; zero widths).
const hidden = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/;

/** Text in pieces: strings as they are, and spans for characters that a terminal would obey or nobody would see. */
export function visible(text) {
  const pieces = [];
  let plain = '';
  for (const character of text.replaceAll('\r\n', '\n')) {
    if (!hidden.test(character)) { plain += character; continue; }
    if (plain) pieces.push(plain);
    plain = '';
    const code = character.codePointAt(0);
    const shown = code < 0x20 || code === 0x7f ? `^${String.fromCodePoint(code ^ 0x40)}` : `<U+${code.toString(16).toUpperCase().padStart(4, '0')}>`;
    pieces.push(make('span', shown, 'control'));
  }
  if (plain) pieces.push(plain);
  return pieces;
}

const palette = ['#7fb2f0', '#f2b36d', '#8fd19e', '#e79bb8', '#b9a5ee', '#6fd0cf', '#e3d26f', '#f08f7f', '#a9b7c4', '#c9a27e'];
const known = ['io', 'mmio', 'hlt', 'wrmsr', 'rdmsr', 'debug', 'internal-error', 'shutdown'];
const colours = new Map(known.map((name, i) => [name, palette[i]]));

/** The colour of a name, always the same one; dark text is readable on it. */
export function colour(name) {
  if (!colours.has(name)) colours.set(name, palette[colours.size % palette.length]);
  return colours.get(name);
}

/** Registers as text, what changed marked. */
export function registers(list) {
  return list.map(([name, value, changed]) => {
    const part = make('span', `${name.padEnd(7)}${value}`, changed ? 'changed' : '');
    if (changed) part.setAttribute('aria-label', `${name} ${value}, changed`);
    return part;
  });
}

/** A canvas of the size it is shown in; its context, width and height in pixels of the page. */
export function surface(canvas) {
  const box = canvas.getBoundingClientRect(), scale = devicePixelRatio || 1;
  canvas.width = Math.round(box.width * scale);
  canvas.height = Math.round(box.height * scale);
  const g = canvas.getContext('2d');
  g.scale(scale, scale);
  g.font = '11px system-ui, sans-serif';
  g.textBaseline = 'middle';
  return { g, width: box.width, height: box.height, ink: getComputedStyle(canvas).getPropertyValue('--ink'), soft: getComputedStyle(canvas).getPropertyValue('--soft'), line: getComputedStyle(canvas).getPropertyValue('--line') };
}

/** Runs `work` soon, and once for any number of calls until then. */
export function soon(work, milliseconds = 100) {
  let waits = false;
  return () => {
    if (waits) return;
    waits = true;
    setTimeout(() => { waits = false; work(); }, milliseconds);
  };
}

/** Says what went wrong, until something goes right. */
export const message = text => { $('message').textContent = text ?? ''; };
