/**
 * What clients connect to: one listener without security, or secured ones. With secured listeners the broker talks to
 * itself, and a test's administrator to the broker, over a listener of their own, whose one user is a super user:
 * whatever a client may do over the others, it may do as itself.
 */
import type { TlsFiles } from './certificates.ts';
import { LOOPBACK, freePort } from './ports.ts';

/** plain: nothing; tls: server certificate; mtls: client certificate too; sasl: PLAIN and SCRAM; sasl-tls: both. */
export const LISTENER_KINDS = ['plain', 'tls', 'mtls', 'sasl', 'sasl-tls'] as const;
export type ListenerKind = (typeof LISTENER_KINDS)[number];

export interface Credentials {
  readonly username: string;
  readonly password: string;
}

export interface Security {
  /** The first one is what `brokers` names. */
  readonly listeners: readonly [ListenerKind, ...ListenerKind[]];
  /** Users of the SASL listeners, by PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512 alike. */
  readonly users?: readonly Credentials[];
  /** Denies all that no ACL allows. A client certificate's user is its common name. */
  readonly authorizer?: boolean;
  /** Users, besides the administrator, whom the authorizer allows everything. */
  readonly superUsers?: readonly string[];
}

export interface Listener {
  readonly kind: ListenerKind | 'internal' | 'controller';
  readonly port: number;
}

export const SCRAM_MECHANISMS = ['SCRAM-SHA-256', 'SCRAM-SHA-512'] as const;

export const address = (port: number): string => `${LOOPBACK}:${port}`;

export const listenerName = (kind: Listener['kind']): string => kind.toUpperCase().replace('-', '_');

/** The listeners clients asked for, and the ones the broker needs for itself, all on ports of their own. */
export async function chooseListeners(
  security: Security | undefined,
  firstPort: number | undefined,
): Promise<Listener[]> {
  const kinds: Listener['kind'][] =
    security === undefined ? ['plain', 'controller'] : [...security.listeners, 'internal', 'controller'];
  const listeners: Listener[] = [];
  for (const kind of kinds) {
    const wanted = listeners.length === 0 ? firstPort : undefined;
    listeners.push({ kind, port: wanted ?? (await freePort(listeners.map(({ port }) => port))) });
  }
  return listeners;
}

/** The server's properties of these listeners. */
export function listenerProperties(
  listeners: readonly Listener[],
  security: Security | undefined,
  admin: Credentials,
  tls: TlsFiles | undefined,
): Record<string, string> {
  const secured = security !== undefined;
  const names = (of: readonly Listener[]): string =>
    of.map(({ kind, port }) => `${listenerName(kind)}://${address(port)}`).join(',');
  const properties: Record<string, string> = {
    listeners: names(listeners),
    'advertised.listeners': names(listeners.filter(({ kind }) => kind !== 'controller')),
    'listener.security.protocol.map': listeners
      .map(({ kind }) => `${listenerName(kind)}:${protocol(kind, secured)}`)
      .join(','),
    'inter.broker.listener.name': listenerName(secured ? 'internal' : 'plain'),
    'controller.listener.names': listenerName('controller'),
  };
  if (!secured) return properties;
  properties['sasl.mechanism.inter.broker.protocol'] = 'PLAIN';
  properties['sasl.mechanism.controller.protocol'] = 'PLAIN';
  for (const { kind } of listeners) {
    const own = kind === 'internal' || kind === 'controller';
    if (protocol(kind, true).startsWith('SASL_'))
      Object.assign(properties, sasl(kind, own, own ? [] : (security.users ?? []), admin));
    if (tls !== undefined && protocol(kind, true).endsWith('SSL')) Object.assign(properties, ssl(kind, tls));
  }
  if (security.authorizer === true) {
    properties['authorizer.class.name'] = 'org.apache.kafka.metadata.authorizer.StandardAuthorizer';
    properties['super.users'] = [admin.username, ...(security.superUsers ?? [])]
      .map((user) => `User:${user}`)
      .join(';');
  }
  return properties;
}

function protocol(kind: Listener['kind'], secured: boolean): string {
  switch (kind) {
    case 'plain':
      return 'PLAINTEXT';
    case 'tls':
    case 'mtls':
      return 'SSL';
    case 'sasl':
      return 'SASL_PLAINTEXT';
    case 'sasl-tls':
      return 'SASL_SSL';
    case 'internal':
    case 'controller':
      return secured ? 'SASL_PLAINTEXT' : 'PLAINTEXT';
  }
}

function sasl(
  kind: Listener['kind'],
  own: boolean,
  users: readonly Credentials[],
  admin: Credentials,
): Record<string, string> {
  const prefix = `listener.name.${listenerName(kind).toLowerCase()}`;
  const accepted = (own ? [admin] : users).map((user) => `user_${user.username}=${quoted(user.password)}`);
  const self = own ? [`username=${quoted(admin.username)}`, `password=${quoted(admin.password)}`] : [];
  const properties: Record<string, string> = {
    [`${prefix}.sasl.enabled.mechanisms`]: ['PLAIN', ...(own ? [] : SCRAM_MECHANISMS)].join(','),
    [`${prefix}.plain.sasl.jaas.config`]: `org.apache.kafka.common.security.plain.PlainLoginModule required ${[...self, ...accepted].join(' ')};`,
  };
  for (const mechanism of own ? [] : SCRAM_MECHANISMS) {
    properties[`${prefix}.${mechanism.toLowerCase()}.sasl.jaas.config`] =
      'org.apache.kafka.common.security.scram.ScramLoginModule required;';
  }
  return properties;
}

function ssl(kind: Listener['kind'], tls: TlsFiles): Record<string, string> {
  const prefix = `listener.name.${listenerName(kind).toLowerCase()}.ssl`;
  return {
    [`${prefix}.keystore.type`]: 'PEM',
    [`${prefix}.keystore.location`]: tls.serverKeyStoreFile,
    [`${prefix}.truststore.type`]: 'PEM',
    [`${prefix}.truststore.location`]: tls.caFile,
    [`${prefix}.client.auth`]: kind === 'mtls' ? 'required' : 'none',
    [`${prefix}.principal.mapping.rules`]: 'RULE:^CN=([^,]+).*$/$1/,DEFAULT',
  };
}

const quoted = (text: string): string => `"${text.replaceAll(/["\\]/g, '\\$&')}"`;
