/** Log lines: stable codes on errors, no user id in the clear. */
import { describe, expect, it } from 'vitest';
import { FreshetError } from '../src/base/errors.ts';
import { createLogger } from '../src/base/logger.ts';
import { userHash } from '../src/base/user-hash.ts';

function logged(write: (logger: ReturnType<typeof createLogger>) => void): Record<string, unknown>[] {
  const lines: string[] = [];
  write(createLogger('info', { write: (line: string) => lines.push(line) }));
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
}

describe('a log line', () => {
  it('about one of our errors has its code and position at the top', () => {
    const cause = new Error('io');
    const err = new FreshetError('LOG_GAP', 'offset 7', { position: { topic: 'user-actions', partition: 3 }, cause });
    const [line] = logged((log) => log.error({ err }, 'stopped'));
    expect(line).toMatchObject({ level: 50, msg: 'stopped', code: 'LOG_GAP', topic: 'user-actions', partition: 3 });
    expect(line!['err']).toMatchObject({ type: 'FreshetError', remedy: err.remedy, cause: { message: 'io' } });
  });

  it('about any other error has no code', () => {
    const [line] = logged((log) => log.error({ err: new TypeError('x') }));
    expect(line).toMatchObject({ err: { type: 'TypeError', message: 'x' } });
    expect(line).not.toHaveProperty('code');
  });

  it('does not show a user id, wherever it is', () => {
    const [line] = logged((log) => log.info({ userId: 'secret', a: { userId: 'secret', b: { userId: 'secret' } } }));
    expect(JSON.stringify(line)).not.toContain('secret');
  });

  it('is written from the level on', () => {
    expect(logged((log) => log.debug('no'))).toEqual([]);
    expect(logged((log) => log.warn('yes'))).toHaveLength(1);
  });
});

it('a user hash is the first 12 hex digits of SHA-256', () => {
  expect(userHash('abc')).toBe('ba7816bf8f01');
});
