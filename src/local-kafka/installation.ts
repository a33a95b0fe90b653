/**
 * What a start needs, made ready once: the jars, and beside them an archive of the classes that a start loads (Java's
 * class data sharing). With it, broker and registry start in half the time and a third of the work. It fits one build of
 * Java; without one a start is slow and nothing else.
 */
import { existsSync } from 'node:fs';
import { mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Broker } from './broker.ts';
import { REGISTRY_DISTRIBUTION, kafkaDistribution, provide } from './distribution.ts';
import type { Distribution, DownloadOptions } from './distribution.ts';
import { findJava, type Java } from './java.ts';
import { freePort } from './ports.ts';
import { Registry } from './registry.ts';
import type { Service } from './service.ts';

const BROKER_HEAP_MB = 512;
const REGISTRY_HEAP_MB = 256;

export interface Program {
  readonly java: Java;
  readonly jarsDir: string;
  readonly heapMb: number;
  readonly classArchive: string | undefined;
}

export interface Installation {
  readonly kafka: Program;
  readonly registry: Program | undefined;
}

export interface InstallOptions extends DownloadOptions {
  readonly kafkaVersion: string;
  readonly registry: boolean;
}

type Trial = (program: Program, dataDir: string, writeClassArchive: string) => Promise<Service>;

/** Finds or downloads all of it. */
export async function install(options: InstallOptions): Promise<Installation> {
  const java = await findJava(options.env);
  const kafka = kafkaDistribution(options.kafkaVersion);
  return {
    kafka: await installOne(kafka, java, BROKER_HEAP_MB, tryBroker, options),
    registry: options.registry
      ? await installOne(REGISTRY_DISTRIBUTION, java, REGISTRY_HEAP_MB, tryRegistry, options)
      : undefined,
  };
}

async function installOne(
  distribution: Distribution,
  java: Java,
  heapMb: number,
  trial: Trial,
  options: DownloadOptions,
): Promise<Program> {
  const jarsDir = await provide(distribution, options);
  const classArchive = join(options.cacheDir, `${distribution.name}.java-${java.version}.jsa`);
  const program = { java, jarsDir, heapMb, classArchive: undefined };
  if (!existsSync(classArchive)) {
    options.onProgress?.(`preparing ${distribution.name} for fast starts, once`);
    await archiveClasses(program, classArchive, trial, options.signal);
  }
  return { ...program, classArchive: existsSync(classArchive) ? classArchive : undefined };
}

/** Starts the program once and lets it write its archive as it stops. */
async function archiveClasses(
  program: Program,
  classArchive: string,
  trial: Trial,
  signal: AbortSignal | undefined,
): Promise<void> {
  const dataDir = await mkdtemp(join(tmpdir(), 'freshet-kafka-'));
  // Beside the place it goes to, so that it can be renamed.
  const written = `${classArchive}.partial-${process.pid}`;
  try {
    const service = await trial(program, dataDir, written);
    await service.start(signal);
    await service.stop();
    if (existsSync(written)) await rename(written, classArchive);
  } finally {
    await rm(written, { force: true });
    await rm(dataDir, { recursive: true, force: true });
  }
}

const tryBroker: Trial = async (program, dataDir, writeClassArchive) => {
  const port = await freePort();
  return Broker.create({
    jarsDir: program.jarsDir,
    program: { ...program, quick: true, dataDir, removedWithParent: dataDir, writeClassArchive },
    listeners: [
      { kind: 'plain', port },
      { kind: 'controller', port: await freePort([port]) },
    ],
    security: undefined,
    admin: { username: '', password: '' },
    tls: undefined,
    properties: {},
  });
};

const tryRegistry: Trial = async (program, dataDir, writeClassArchive) =>
  new Registry({
    jarsDir: program.jarsDir,
    program: { ...program, quick: true, dataDir, removedWithParent: dataDir, writeClassArchive },
    port: await freePort(),
  });
