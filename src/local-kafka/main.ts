/** `npm run kafka`: a Kafka and a registry to work with, in the foreground until SIGINT or SIGTERM. */
import { CommanderError } from 'commander';
import { FreshetError } from '../base/errors.ts';
import { createLogger } from '../base/logger.ts';
import { program, security, type Flags } from './flags.ts';
import { LocalKafka } from './local-kafka.ts';

const ORPHANED_CHECK_MS = 500;

async function main(argv: readonly string[]): Promise<number> {
  // Signals may come twice: from the terminal and from npm, which passes them on.
  const stopped = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => stopped.abort());
  if (process.env['npm_lifecycle_event'] !== undefined) whenOrphaned(() => stopped.abort());
  // A reader that has seen the addresses (`| head -1`) is no reason to stop.
  process.stdout.on('error', () => undefined);
  try {
    await serve(program().parse(argv).opts<Flags>(), stopped.signal);
    return 0;
  } catch (error) {
    if (stopped.signal.aborted && error === stopped.signal.reason) return 0;
    if (!(error instanceof CommanderError)) return report(error);
    return error.exitCode === 0 ? 0 : report(new FreshetError('USAGE', error.message.replace(/^error: /, '')));
  }
}

async function serve(flags: Flags, signal: AbortSignal): Promise<void> {
  const kafka = await LocalKafka.start({
    kafkaVersion: flags.kafkaVersion,
    dataDir: flags.dataDir,
    cacheDir: flags.cacheDir,
    port: flags.port,
    registryPort: flags.registryPort,
    registry: flags.registry,
    properties: flags.property,
    security: security(flags),
    quick: flags.quick,
    signal,
    onProgress: (line) => process.stderr.write(`${line}\n`),
  });
  try {
    process.stdout.write(flags.json ? `${JSON.stringify(addresses(kafka))}\n` : text(kafka, flags));
    const failure = await Promise.race([kafka.failed, aborted(signal)]);
    if (failure !== undefined) throw failure;
  } finally {
    await kafka.stop();
  }
}

/** `brokers` as `--brokers` and Kafka's bootstrap.servers take it. */
const addresses = ({ brokers, registry, dataDir, listeners, tls, admin }: LocalKafka): object => ({
  ...{ brokers: brokers.join(','), registry, dataDir },
  ...(admin.credentials === null ? {} : { listeners, tls, admin }),
});

function text(kafka: LocalKafka, flags: Flags): string {
  const to = [
    `--brokers=${kafka.brokers.join(',')}`,
    ...(kafka.registry === null ? [] : [`--registry=${kafka.registry}`]),
  ];
  const rows = [
    [`Kafka ${flags.kafkaVersion}`, kafka.brokers.join(',')],
    ...(kafka.registry === null ? [] : [['Registry', kafka.registry]]),
    ['Data', `${kafka.dataDir}${flags.dataDir === undefined ? ' (removed at the end)' : ''}`],
    ...Object.entries(kafka.listeners).map(([kind, at]) => [`Listener ${kind}`, at]),
    ...Object.entries(kafka.tls ?? {}).map(([name, file]: [string, string]) => [`TLS ${name}`, file]),
  ];
  return [
    ...rows.map(([name, value]) => `${name!.padEnd(24)}${value}`),
    '',
    `  npm run freshet -- load data/deskdrop/actions.csv.gz --format=deskdrop ${to.join(' ')}`,
    `  npm run freshet -- run ${to.join(' ')}`,
    '',
    'Ctrl-C stops it.',
    '',
  ].join('\n');
}

const aborted = (signal: AbortSignal): Promise<undefined> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve(undefined);
    signal.addEventListener('abort', () => resolve(undefined));
  });

/** Under npm, the end of npm is the end: a killed npm can pass no signal on. */
function whenOrphaned(stop: () => void): void {
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid !== parent) stop();
  }, ORPHANED_CHECK_MS);
  timer.unref();
}

/** One line for a script, two for a person: code, what happened, what to do. */
function report(error: unknown): number {
  if (!(error instanceof FreshetError)) {
    createLogger('error').error({ code: 'INTERNAL', err: error }, 'unexpected error');
    return 1;
  }
  if (process.stderr.isTTY) process.stderr.write(`${error.code}: ${error.message}\n  ${error.remedy}\n`);
  else createLogger('error').error({ code: error.code, remedy: error.remedy }, error.message);
  return error.exitCode;
}

process.exitCode = await main(process.argv);
