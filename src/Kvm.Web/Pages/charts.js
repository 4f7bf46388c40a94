// Exits and schedule over time, and where the VMM's time went.
import { $, colour, make, surface } from './parts.js';

/** The part of time that is shown, in ns. */
export const range = {
  from: 0, to: 1e9,
  /** Makes it larger or smaller about a place. */
  zoom(factor, middle, last) {
    const width = Math.min(Math.max((this.to - this.from) * factor, 1e4), Math.max(last, 1e6));
    this.from = Math.max(0, middle - width / 2);
    this.to = this.from + width;
  },
  move(part) {
    const by = Math.max(-this.from, (this.to - this.from) * part);
    this.from += by;
    this.to += by;
  },
};

const gutter = 52;

/** Where a time is, and a place's time. */
const at = (ns, width) => gutter + (ns - range.from) / (range.to - range.from) * (width - gutter);
export const timeAt = (x, width) => range.from + (x - gutter) / (width - gutter) * (range.to - range.from);

/** Exits, a lane for each vCPU. */
export function timeline(exits, vcpus, chosen) {
  const { g, width, height, ink, soft, line } = surface($('timeline')), lane = (height - 16) / Math.max(1, vcpus.length);
  lanes(g, vcpus.map(v => `vCPU ${v}`), lane, width, soft, line);
  for (const exit of exits) {
    const left = at(exit.timeNs, width), right = at(exit.timeNs + exit.costNs, width);
    if (right < gutter || left > width) continue;
    g.fillStyle = colour(exit.reason);
    const from = Math.max(gutter, left);
    g.fillRect(from, vcpus.indexOf(exit.vcpu) * lane + 3, Math.max(1, right - from), lane - 6);
  }
  if (chosen) {
    const x = at(chosen.timeNs, width);
    g.fillStyle = ink;
    if (x >= gutter) g.fillRect(x - 0.5, 0, 1.5, height - 16);
  }
  axis(g, width, height, soft);
}

/** Which vCPU ran on which CPU: in its lane a bar for each sample, in the CPU's colour, as high as the share of the time that the thread had it. */
export function gantt(samples) {
  const { g, width, height, soft, line } = surface($('gantt'));
  const vcpus = [...new Set(samples.map(s => s.vcpu))].sort((a, b) => a - b), lane = (height - 16) / Math.max(1, vcpus.length);
  lanes(g, vcpus.map(v => `vCPU ${v}`), lane, width, soft, line);
  const last = new Map();
  for (const sample of samples) {
    const before = last.get(sample.vcpu) ?? sample;
    last.set(sample.vcpu, sample);
    const left = Math.max(gutter, at(before.timeNs, width)), right = at(sample.timeNs, width);
    const share = Math.min(1, sample.ranNs / Math.max(1, sample.timeNs - before.timeNs));
    if (right < gutter || left > width || share < 0.005) continue;
    const bottom = vcpus.indexOf(sample.vcpu) * lane + lane - 2, high = (lane - 5) * Math.max(0.12, share);
    g.fillStyle = colour(`CPU ${sample.cpu}`);
    g.fillRect(left, bottom - high, Math.max(1, right - left + 0.5), high);
  }
  axis(g, width, height, soft);
}

function lanes(g, names, lane, width, soft, line) {
  names.forEach((name, i) => {
    g.fillStyle = soft;
    g.fillText(name, 6, i * lane + lane / 2);
    g.fillStyle = line;
    g.fillRect(gutter, (i + 1) * lane, width - gutter, 1);
  });
}

function axis(g, width, height, soft) {
  const step = 10 ** Math.ceil(Math.log10((range.to - range.from) / 8));
  g.fillStyle = soft;
  for (let ns = Math.ceil(range.from / step) * step; ns <= range.to; ns += step) {
    const x = at(ns, width);
    g.fillRect(x, height - 16, 1, 4);
    const text = step >= 1e9 ? `${ns / 1e9} s` : step >= 1e6 ? `${Math.round(ns / 1e6)} ms` : `${+(ns / 1e6).toFixed(3)} ms`;
    if (x + 40 < width) g.fillText(text, x + 3, height - 7);
  }
}

/** Time in the VMM by reason, device, function: each level a row. */
export function flame(exits) {
  const total = exits.reduce((sum, exit) => sum + exit.costNs, 0) || 1;
  const keys = [exit => exit.reason, exit => exit.device ?? exit.kvm ?? '', exit => (exit.symbol ?? exit.rip).split('+')[0]], levels = keys.map(() => []);
  (function part(list, depth) {
    if (depth === keys.length) return;
    const groups = new Map();
    for (const exit of list) {
      const key = keys[depth](exit);
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(exit);
    }
    const costs = [...groups].map(([name, members]) => ({ name, members, cost: members.reduce((sum, exit) => sum + exit.costNs, 0) }));
    for (const group of costs.sort((a, b) => b.cost - a.cost)) {
      levels[depth].push({ ...group, reason: group.members[0].reason });
      part(group.members, depth + 1);
    }
  })(exits, 0);
  $('flame').replaceChildren(...levels.map(level => {
    const row = make('div');
    for (const { name, cost, reason, members } of level) {
      if (cost / total < 0.002) continue;
      const bar = make('span', name);
      bar.title = `${name}: ${(cost / 1e6).toFixed(3)} ms in ${members.length} exits`;
      bar.style.width = `${100 * cost / total}%`;
      bar.style.background = colour(reason);
      row.append(bar);
    }
    return row;
  }));
}

/** What the colours mean. */
export function legend(element, names) {
  element.replaceChildren(...names.map(name => {
    const item = make('li'), swatch = make('i');
    swatch.style.background = colour(name);
    item.append(swatch, name);
    return item;
  }));
}
