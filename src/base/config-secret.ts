/** Secrets and keys that stand in files, as orchestrators mount them. Read when a connection is made, so they can be renewed. */
import { readFileSync } from 'node:fs';
import { FreshetError } from './errors.ts';

/** The file of a configuration key, e.g. `kafka.tlsCaFile`; refused if it cannot be read or is empty. */
export function readKeyFile(key: string, path: string): Buffer {
  let content: Buffer;
  try {
    content = readFileSync(path);
  } catch (error) {
    throw new FreshetError('FILE_NOT_FOUND', `${path}, given as ${key}`, { cause: error });
  }
  if (content.length === 0) throw new FreshetError('CONFIG_INVALID', `${key}: the file ${path} is empty`);
  return content;
}

/** A secret that is given itself or as a file, whose last line break is not part of it; null: it is not given. */
export function readSecret(key: string, value: string | null, path: string | null): string | null {
  if (path === null) return value;
  const secret = readKeyFile(`${key}File`, path)
    .toString('utf8')
    .replace(/\r?\n$/, '');
  if (secret === '') throw new FreshetError('CONFIG_INVALID', `${key}File: the file ${path} is empty`);
  return secret;
}
