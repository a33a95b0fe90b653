/** The status from the process that holds the data folder: the embedded log can be read by no other one meanwhile. */
import type { Config } from '../base/config.ts';
import { FreshetError } from '../base/errors.ts';
import type { Status } from './status.ts';

const TIMEOUT_MS = 10_000;
const REMEDY =
  'Start it with --http-port=PORT, and give `freshet status` the same port: it then asks that process. Or stop it first.';

/** `inUse` says who holds the folder; it is what fails, with a remedy, if that process cannot be asked. */
export async function askStatus({ appId, http }: Config, inUse: FreshetError): Promise<Status> {
  const fail = (detail: string, cause?: unknown): FreshetError =>
    new FreshetError('DATA_DIR_IN_USE', detail, { remedy: REMEDY, cause });
  if (http.port === null || http.port === 0) throw fail(inUse.detail, inUse);
  const url = `http://${hostOf(http.host)}:${http.port}/status`;
  let status: Partial<Status>;
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    status = (await response.json()) as Partial<Status>;
  } catch (error) {
    throw fail(`${inUse.detail}, and ${url} gives no status`, error);
  }
  if (status.appId !== appId || !Array.isArray(status.partitions)) {
    throw fail(`${inUse.detail}, and ${url} gives no status of the application ${appId}`);
  }
  return status as Status;
}

/** What listens on every address of the machine is asked on this one. */
function hostOf(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  if (host === '::') return '[::1]';
  return host.includes(':') ? `[${host}]` : host;
}
