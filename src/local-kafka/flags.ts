/** The flags of `npm run kafka`. */
import { Command, InvalidArgumentError } from 'commander';
import { FreshetError } from '../base/errors.ts';
import { defaultCacheDir } from './distribution.ts';
import { LISTENER_KINDS, type Credentials, type ListenerKind, type Security } from './listeners.ts';
import { DEFAULT_KAFKA_VERSION } from './local-kafka.ts';

export interface Flags {
  readonly json: boolean;
  readonly quick: boolean;
  readonly kafkaVersion: string;
  readonly dataDir?: string;
  readonly cacheDir: string;
  readonly port?: number;
  readonly registryPort?: number;
  readonly registry: boolean;
  readonly property: Readonly<Record<string, string>>;
  readonly listener: readonly ListenerKind[];
  readonly user: readonly Credentials[];
  readonly authorizer: boolean;
  readonly superUser: readonly string[];
}

export function program(): Command {
  return new Command('npm run kafka --')
    .description('Starts a real Kafka (one node, KRaft) and a schema registry on this machine until SIGINT or SIGTERM.')
    .option('--json', 'one line {brokers, registry, dataDir} on stdout once both answer', false)
    .option('--quick', 'start faster and work slower: for tests, not for benchmarks', false)
    .option('--kafka-version <version>', 'a version from 3.9 on', versionOption, DEFAULT_KAFKA_VERSION)
    .option('--data-dir <folder>', 'kept at the end (default: a temporary one that is not)')
    .option('--cache-dir <folder>', 'where downloads are kept', defaultCacheDir())
    .option('--port <number>', 'of the broker (default: a free one)', portOption)
    .option('--registry-port <number>', 'of the registry (default: a free one)', portOption)
    .option('--no-registry', 'start the broker alone')
    .option('--property <name=value>', 'a property of the broker; may be repeated', propertyOption, {})
    .option(
      '--listener <kind>',
      `${LISTENER_KINDS.join(', ')}; may be repeated, brokers are those of the first`,
      listenerOption,
      [],
    )
    .option('--user <name:password>', 'a user of the sasl listeners; may be repeated', userOption, [])
    .option('--authorizer', 'deny what no ACL allows', false)
    .option('--super-user <name>', 'a user whom it allows all; may be repeated', nameOption, [])
    .exitOverride()
    .configureOutput({ outputError: () => undefined });
}

export function security({ listener: [first, ...others], user, authorizer, superUser }: Flags): Security | undefined {
  if (first === undefined) {
    if (!authorizer && user.length === 0 && superUser.length === 0) return undefined;
    throw new FreshetError('USAGE', '--user, --authorizer and --super-user need a --listener');
  }
  return { listeners: [first, ...others], users: user, authorizer, superUsers: superUser };
}

function portOption(value: string): number {
  const port = Number(value);
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw new InvalidArgumentError('must be from 1 to 65535.');
  return port;
}

function versionOption(value: string): string {
  if (!/^\d+\.\d+\.\d+$/.test(value)) throw new InvalidArgumentError('must look like 4.1.0.');
  return value;
}

function listenerOption(value: string, kinds: readonly ListenerKind[]): ListenerKind[] {
  const kind = LISTENER_KINDS.find((each) => each === value);
  if (kind === undefined) throw new InvalidArgumentError(`must be one of ${LISTENER_KINDS.join(', ')}.`);
  return [...kinds, kind];
}

function nameOption(value: string, names: readonly string[]): string[] {
  return [...names, value];
}

function propertyOption(value: string, properties: Record<string, string>): Record<string, string> {
  const [name, rest] = split(value, '=');
  return { ...properties, [name]: rest };
}

function userOption(value: string, users: readonly Credentials[]): Credentials[] {
  const [username, password] = split(value, ':');
  return [...users, { username, password }];
}

function split(value: string, separator: string): [string, string] {
  const at = value.indexOf(separator);
  if (at < 1) throw new InvalidArgumentError(`must contain ${separator}`);
  return [value.slice(0, at), value.slice(at + 1)];
}
