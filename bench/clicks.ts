/**
 * The clicks of a news portal (Globo.com G1; academic use only, so not shipped) as a workload: a packed folder of CSV
 * files, in order of sessions, put into order of time. What the job does not need is left aside.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { UserAction } from './workload.ts';

/** click_environment of the source. */
const SURFACES = ['', 'instant', 'app', 'amp', 'web'];
const [USER, ITEM, TIME, ENVIRONMENT] = [0, 4, 5, 6];

/** All clicks, oldest first, and the items that they are on. `file` is a .tar.xz; tar and xz must be installed. */
export async function readClicks(file: string): Promise<{ items: string[]; actions: Iterable<UserAction> }> {
  const tar = spawn('tar', ['-xJOf', file], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(tar, 'close') as Promise<[number | null]>;
  // A row is four numbers; millions of objects would take ten times as much.
  const rows: number[] = [];
  for await (const line of createInterface({ input: tar.stdout })) {
    const cells = line.split(',');
    const timeMs = Number(cells[TIME]);
    // A header begins each file.
    if (timeMs > 0) rows.push(Number(cells[USER]), Number(cells[ITEM]), timeMs, Number(cells[ENVIRONMENT]));
  }
  const [code] = await ended;
  if (code !== 0) throw new Error(`tar ended with ${code}`);
  const order = Uint32Array.from({ length: rows.length / 4 }, (_, row) => row).sort(
    (a, b) => rows[a * 4 + 2]! - rows[b * 4 + 2]! || a - b,
  );
  const items = new Set<number>();
  for (let at = 1; at < rows.length; at += 4) items.add(rows[at]!);
  return { items: Array.from(items, String), actions: actionsOf(rows, order) };
}

function* actionsOf(rows: readonly number[], order: Uint32Array): Generator<UserAction> {
  for (const row of order) {
    const [user, item, eventTimeMs, environment] = rows.slice(row * 4, row * 4 + 4) as [number, number, number, number];
    const surface = SURFACES[environment] ?? '';
    const action = { eventTimeMs, itemId: String(item), actionType: 'view', surface };
    yield { userId: String(user), action, arrivalTimeMs: eventTimeMs };
  }
}
