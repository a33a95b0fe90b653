/**
 * The jars of Kafka and of the registry, from Maven Central, kept in a cache of the user. A folder of the cache appears
 * by a rename once all is in it: a download cut short leaves only a folder that nobody looks at, and the next one
 * removes it.
 */
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { FreshetError } from '../base/errors.ts';
import { GuardedProcess } from './guarded-process.ts';
import { assertMaven } from './java.ts';

const REGISTRY_VERSION = '2.6.13.Final';
const DEPENDENCY_PLUGIN_VERSION = '3.8.1';
/** A download that has not ended by then was cut short. */
const PARTIAL_KEPT_MS = 60 * 60 * 1_000;

export interface Distribution {
  readonly name: string;
  /** `group:artifact:version`, and for an archive that is unpacked `:classifier:type`. */
  readonly artifacts: readonly string[];
  readonly unpacked: boolean;
}

export const kafkaDistribution = (version: string): Distribution => ({
  name: `kafka-${version}`,
  // Kafka's own artifact logs through slf4j and brings nothing that writes what it logs.
  artifacts: [`org.apache.kafka:kafka_2.13:${version}`, 'org.slf4j:slf4j-simple:1.7.36'],
  unpacked: false,
});

/** What `java -jar` starts, in the registry's folder. */
export const REGISTRY_RUNNER = `apicurio-registry-app-${REGISTRY_VERSION}-runner.jar`;

export const REGISTRY_DISTRIBUTION: Distribution = {
  name: `apicurio-registry-${REGISTRY_VERSION}`,
  artifacts: [`io.apicurio:apicurio-registry-app:${REGISTRY_VERSION}:all:tar.gz`],
  unpacked: true,
};

export interface DownloadOptions {
  readonly cacheDir: string;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((line: string) => void) | undefined;
  readonly env?: NodeJS.ProcessEnv;
}

/** Names starting with FRESHET_ are keys of the product's configuration, and this is none. */
const CACHE_DIR_VARIABLE = 'LOCAL_KAFKA_CACHE_DIR';

/** What the environment says, else a folder where the system's user keeps such things. */
export const defaultCacheDir = (env: NodeJS.ProcessEnv = process.env): string =>
  env[CACHE_DIR_VARIABLE] || join(env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'freshet');

/** The folder with the distribution's files; downloaded if it is not in the cache. */
export async function provide(distribution: Distribution, options: DownloadOptions): Promise<string> {
  const folder = join(options.cacheDir, distribution.name);
  if (existsSync(folder)) return folder;
  await assertMaven(options.env);
  options.onProgress?.(`downloading ${distribution.name} into ${options.cacheDir}, once`);
  await removeAbandoned(options.cacheDir);
  const partial = join(options.cacheDir, `${distribution.name}.partial-${randomUUID()}`);
  try {
    await download(distribution, partial, options);
    await publish(join(partial, 'files'), folder);
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
  return folder;
}

async function download(distribution: Distribution, partial: string, options: DownloadOptions): Promise<void> {
  const { signal } = options;
  signal?.throwIfAborted();
  await mkdir(partial, { recursive: true });
  await writeFile(join(partial, 'pom.xml'), pom(distribution));
  const goal = distribution.unpacked ? 'unpack-dependencies' : 'copy-dependencies';
  const maven = new GuardedProcess(
    ['mvn', '-B', '-q', `dependency:${goal}`, `-DoutputDirectory=${join(partial, 'files')}`],
    { logFile: join(partial, 'maven.log'), cwd: partial, removedWithParent: partial, env: options.env ?? process.env },
  );
  const abort = (): void => void maven.kill();
  signal?.addEventListener('abort', abort);
  const { exitCode } = await maven.exited;
  signal?.removeEventListener('abort', abort);
  signal?.throwIfAborted();
  if (exitCode !== 0)
    throw new FreshetError('DOWNLOAD_FAILED', `${distribution.name}; Maven says:\n${maven.logTail()}`);
}

/** Whoever was faster has published the same files. */
async function publish(files: string, folder: string): Promise<void> {
  try {
    await rename(files, folder);
  } catch (error) {
    if (!existsSync(folder)) throw error;
  }
}

async function removeAbandoned(cacheDir: string): Promise<void> {
  await mkdir(cacheDir, { recursive: true });
  for (const name of await readdir(cacheDir)) {
    if (!name.includes('.partial-')) continue;
    const path = join(cacheDir, name);
    const found = await stat(path).catch(() => undefined); // Its owner may be done with it by now.
    if (found !== undefined && Date.now() - found.mtimeMs > PARTIAL_KEPT_MS) {
      await rm(path, { recursive: true, force: true });
    }
  }
}

function pom({ artifacts, unpacked }: Distribution): string {
  const dependencies = artifacts.map((artifact) => {
    const [groupId, artifactId, version, classifier, type] = artifact.split(':');
    const archive = unpacked
      ? `<classifier>${classifier}</classifier><type>${type}</type>
      <exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>`
      : '';
    return `    <dependency><groupId>${groupId}</groupId><artifactId>${artifactId}</artifactId><version>${version}</version>${archive}</dependency>`;
  });
  return `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>freshet</groupId>
  <artifactId>local-kafka</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
${dependencies.join('\n')}
  </dependencies>
  <build><plugins><plugin>
    <artifactId>maven-dependency-plugin</artifactId>
    <version>${DEPENDENCY_PLUGIN_VERSION}</version>
  </plugin></plugins></build>
</project>
`;
}
