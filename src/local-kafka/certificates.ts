/** A certificate authority for one run, and what it has signed: a server on the loopback address, and a client. */
import { execFile } from 'node:child_process';
import { appendFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { FreshetError } from '../base/errors.ts';
import { LOOPBACK } from './ports.ts';

const run = promisify(execFile);

const VALID_DAYS = '30';

/** The common name of the client's certificate, and so its user. */
export const CLIENT_NAME = 'freshet-client';

/** All in PEM; keys as PKCS #8 without a passphrase. */
export interface TlsFiles {
  readonly caFile: string;
  /** The server's key and its certificate, in one file as Kafka reads them. */
  readonly serverKeyStoreFile: string;
  readonly clientCertFile: string;
  readonly clientKeyFile: string;
}

/** Makes all files new in `folder`. */
export async function createCertificates(folder: string): Promise<TlsFiles> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const path = (name: string): string => join(folder, name);
  await createKey(path('ca.key'));
  await openssl(
    ['req', '-x509', '-new', '-key', path('ca.key'), '-days', VALID_DAYS, '-subj', '/CN=freshet-local-ca'],
    ['-out', path('ca.crt')],
  );
  await sign(folder, 'server', 'localhost', `subjectAltName=DNS:localhost,IP:${LOOPBACK}`);
  await sign(folder, 'client', CLIENT_NAME, 'extendedKeyUsage=clientAuth');
  await writeFile(path('server.pem'), await readFile(path('server.key')), { mode: 0o600 });
  await appendFile(path('server.pem'), await readFile(path('server.crt')));
  return {
    caFile: path('ca.crt'),
    serverKeyStoreFile: path('server.pem'),
    clientCertFile: path('client.crt'),
    clientKeyFile: path('client.key'),
  };
}

async function sign(folder: string, name: string, commonName: string, extension: string): Promise<void> {
  const path = (ending: string): string => join(folder, `${name}.${ending}`);
  await createKey(path('key'));
  await openssl(['req', '-new', '-key', path('key'), '-subj', `/CN=${commonName}`, '-out', path('csr')]);
  await writeFile(path('ext'), `${extension}\n`);
  await openssl(
    ['x509', '-req', '-in', path('csr'), '-CA', join(folder, 'ca.crt'), '-CAkey', join(folder, 'ca.key')],
    ['-CAcreateserial', '-days', VALID_DAYS, '-extfile', path('ext'), '-out', path('crt')],
  );
}

/** Elliptic curves: a key takes milliseconds. */
const createKey = async (file: string): Promise<void> =>
  openssl(['genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', file]);

async function openssl(...args: readonly (readonly string[])[]): Promise<void> {
  try {
    await run('openssl', args.flat());
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    throw new FreshetError('TOOL_MISSING', 'openssl makes the certificates of the secured listeners', {
      cause: error,
      remedy: 'Install OpenSSL (`apt-get install openssl`) and put it on the PATH.',
    });
  }
}
