// What tests/sdk/run.py has started, and how to ask the lab provider what it saw.
import { File } from 'node:buffer';
import { setTimeout as pause } from 'node:timers/promises';

// Node 18 has it, though not as a global, where the SDK looks for it.
globalThis.File ??= File;

function setting(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set; run tests/sdk/run.py node`);
  return value;
}

export const gateway = `http://${setting('TIDEGATE_SUITE_ADDRESS')}`;
export const key = setting('TIDEGATE_SUITE_KEY');
export const direct = process.env.TIDEGATE_DIRECT === '1';
// The lab behind the models that fail; with TIDEGATE_DIRECT=1 they are asked there.
export const failing = direct ? `http://${setting('TIDEGATE_SUITE_FAILING')}` : gateway;
const lab = `http://${setting('TIDEGATE_SUITE_LAB')}`;

export async function stats() {
  return (await fetch(`${lab}/lab/stats`)).json();
}

// Waits until `condition()` gives something true and returns it.
export async function until(condition, what, milliseconds = 10_000) {
  const deadline = performance.now() + milliseconds;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (performance.now() > deadline) throw new Error(`not within ${milliseconds} ms: ${what}`);
    await pause(2);
  }
}

// Lets a caller go away and returns how long the provider took to see it, in milliseconds.
export async function millisecondsUntilCancelled(goAway) {
  const before = (await stats()).cancelled;
  const leftAt = Date.now();
  goAway();
  const after = await until(async () => {
    const now = await stats();
    return now.cancelled > before && now;
  }, 'the provider sees that the caller has gone');
  const took = after.last_cancel_unix_ms - leftAt;
  if (took < -1) throw new Error('the cancel that was counted is an older one');
  return Math.max(took, 0);
}
