/**
 * The configuration as kafkajs takes it: brokers, TLS, SASL, time-outs, and its log lines as ours. What is wrong with a
 * certificate or key is said here, with the key of the configuration, before a broker refuses the connection.
 */
import { X509Certificate } from 'node:crypto';
import { createSecureContext, type ConnectionOptions } from 'node:tls';
import type { KafkaConfig, SASLOptions } from 'kafkajs';
import type { Logger } from 'pino';
import type { Config } from '../base/config.ts';
import { readKeyFile, readSecret } from '../base/config-secret.ts';
import { FreshetError } from '../base/errors.ts';
// Both mend kafkajs for every client.
import './kafka-internals.ts';
import './kafka-missing-acl.ts';
import { kafkaLogCreator, kafkaLogLevel } from './kafka-logger.ts';

type KafkaKeys = Config['kafka'];

/** Reads the files that hold secrets; call it for each client that is made. */
export function kafkaConfig({ brokers, kafka }: Pick<Config, 'brokers' | 'kafka'>, logger: Logger): KafkaConfig {
  const ssl = tlsOf(kafka);
  const sasl = saslOf(kafka);
  return {
    brokers: [...brokers],
    clientId: kafka.clientId,
    ...(ssl === undefined ? {} : { ssl }),
    ...(sasl === undefined ? {} : { sasl }),
    connectionTimeout: kafka.connectionTimeoutMs,
    authenticationTimeout: kafka.requestTimeoutMs,
    requestTimeout: kafka.requestTimeoutMs,
    logLevel: kafkaLogLevel(logger),
    logCreator: kafkaLogCreator(logger),
  };
}

function tlsOf(kafka: KafkaKeys): ConnectionOptions | undefined {
  if (!kafka.tls) return undefined;
  const { tlsCaFile, tlsCertFile, tlsKeyFile } = kafka;
  const passphrase = readSecret('kafka.tlsKeyPassphrase', null, kafka.tlsKeyPassphraseFile);
  const ca = tlsCaFile === null ? null : certificates('kafka.tlsCaFile', tlsCaFile);
  const cert = tlsCertFile === null ? null : certificates('kafka.tlsCertFile', tlsCertFile);
  const key = tlsKeyFile === null ? null : readKeyFile('kafka.tlsKeyFile', tlsKeyFile);
  const options: ConnectionOptions = {
    // Stated, so that NODE_TLS_REJECT_UNAUTHORIZED=0 in the environment does not switch the check off.
    rejectUnauthorized: true,
    ...(ca === null ? {} : { ca }),
    ...(cert === null ? {} : { cert }),
    ...(key === null ? {} : { key }),
    ...(passphrase === null ? {} : { passphrase }),
  };
  try {
    createSecureContext(options);
  } catch (error) {
    const wrong = key === null ? 'kafka.tlsCaFile' : 'kafka.tlsKeyFile';
    const hint = 'it must be the PEM key of kafka.tlsCertFile, and kafka.tlsKeyPassphraseFile its passphrase';
    throw new FreshetError('CONFIG_INVALID', `${wrong}: ${(error as Error).message}; ${hint}`, { cause: error });
  }
  return options;
}

/** OpenSSL takes a file without any certificate for an empty list, so the first one is parsed here. */
function certificates(key: string, path: string): Buffer {
  const content = readKeyFile(key, path);
  try {
    new X509Certificate(content);
  } catch (error) {
    throw new FreshetError('CONFIG_INVALID', `${key}: the file ${path} holds no PEM certificate`, { cause: error });
  }
  return content;
}

function saslOf(kafka: KafkaKeys): SASLOptions | undefined {
  if (kafka.saslMechanism === null) return undefined;
  const password = readSecret('kafka.saslPassword', kafka.saslPassword, kafka.saslPasswordFile);
  return { mechanism: kafka.saslMechanism, username: kafka.saslUsername!, password: password! };
}
