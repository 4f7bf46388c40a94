// Events and commands. The token is the first part of the page's own path; it is sent as a header, which no other page can.
const token = location.pathname.split('/')[1];
const headers = { 'X-Kvmsharp-Token': token };

/** Reads events until they end; `on` has a function for each kind, `open` and `gone`. Comes back by itself while the server is there. */
export async function follow(on) {
  for (let patience = 3; patience > 0; patience--) {
    try {
      const response = await fetch('api/events', { headers, cache: 'no-store' });
      if (!response.ok) throw new Error(await response.text());
      on.open?.();
      patience = 3;
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let rest = ''; ;) {
        const { value, done } = await reader.read();
        if (done) break;
        const frames = (rest + value).split('\n\n');
        rest = frames.pop();
        for (const frame of frames) tell(on, frame);
      }
    } catch (error) {
      console.debug(error);
    }
    await new Promise(resolve => setTimeout(resolve, 500));
  }
  on.gone?.();
}

function tell(on, frame) {
  let kind = '', data = '';
  for (const line of frame.split('\n')) {
    if (line.startsWith('event: ')) kind = line.slice(7);
    else if (line.startsWith('data: ')) data = line.slice(6);
  }
  if (Object.hasOwn(on, kind)) on[kind](JSON.parse(data));
}

/** Asks for something; the answer, or an error that says why not. */
export async function ask(command, values = {}) {
  const response = await fetch(`api/${command}`, { method: 'POST', headers: { ...headers, 'Content-Type': 'application/json' }, body: JSON.stringify(values) });
  const text = await response.text();
  if (response.ok) return JSON.parse(text);
  let why = text;
  try { why = JSON.parse(text).error ?? text; } catch { /* it is a sentence already */ }
  throw new Error(why.trim());
}
