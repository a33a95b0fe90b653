/** The shipped log and models, read once a test file. */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { loadConfig } from '../src/base/config.ts';
import { packagePath } from '../src/base/package-root.ts';
import { DESKDROP } from '../src/ingest/deskdrop.ts';
import { layoutOf } from '../state/layout.ts';
import type { UserActionRecord } from '../topics/records.ts';

export const DAY_MS = 86_400_000;
export const HOUR_MS = 3_600_000;

/** The layout of the default configuration. */
export const LAYOUT = layoutOf(loadConfig({ env: {}, flags: {}, cwd: packagePath() }));

/** data/deskdrop/actions.csv.gz in its order: by event time, duplicates included. */
export function readShippedLog(): UserActionRecord[] {
  const text = gunzipSync(readFileSync(packagePath('data', 'deskdrop', 'actions.csv.gz'))).toString('utf8');
  const [, ...lines] = text.trimEnd().split('\n');
  const actionTypes: Readonly<Record<string, string>> = DESKDROP.actionMap;
  return lines.map((line) => {
    const [timestamp = '', eventType = '', itemId = '', userId = '', surface = ''] = line.split(',');
    const eventTimeMs = Number(timestamp) * 1_000;
    return {
      userId,
      itemId,
      actionType: actionTypes[eventType]!,
      eventTimeMs,
      surface: surface === '' ? null : surface,
    };
  });
}

/** A JSON file below models/, gzipped if its name says so. What is in it is for the test to check. */
export function readModelJson<T>(...parts: string[]): T {
  const bytes = readFileSync(packagePath('models', ...parts));
  return JSON.parse((parts.at(-1)!.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('utf8')) as T;
}
