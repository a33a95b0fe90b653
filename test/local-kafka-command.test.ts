/** `npm run kafka` as its users have it, what it says when it cannot start, and that nothing of it is left behind. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { packagePath } from '../src/base/package-root.ts';
import { kafkaDistribution, provide } from '../src/local-kafka/distribution.ts';
import { program as flags, security, type Flags } from '../src/local-kafka/flags.ts';
import { findJava } from '../src/local-kafka/java.ts';
import { brokerAnswers, registryAnswers } from '../src/local-kafka/readiness.ts';
import { processesNaming } from './support/processes.ts';
import { tempDir } from './support/temp-dir.ts';

/** The first start on a machine downloads. */
const FIRST_START_MS = 300_000;
const GONE_WITHIN_MS = 10_000;

interface Addresses {
  readonly brokers: string;
  readonly registry: string | null;
  readonly dataDir: string;
}

class KafkaCommand {
  readonly child: ChildProcess;
  readonly exitCode: Promise<number | null>;
  stdout = '';
  stderr = '';

  constructor(args: readonly string[], { env = {}, npm = false }: { env?: NodeJS.ProcessEnv; npm?: boolean } = {}) {
    const command = npm
      ? ['npm', 'run', '--silent', 'kafka', '--']
      : [process.execPath, packagePath('src', 'local-kafka', 'main.ts')];
    this.child = spawn(command[0]!, [...command.slice(1), '--quick', ...args], {
      cwd: packagePath(),
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.child.stdout!.setEncoding('utf8').on('data', (text: string) => (this.stdout += text));
    this.child.stderr!.setEncoding('utf8').on('data', (text: string) => (this.stderr += text));
    this.exitCode = once(this.child, 'close').then(([exitCode]) => exitCode as number | null);
  }

  /** The one line of `--json`. */
  async addresses(): Promise<Addresses> {
    await this.prints('\n');
    return JSON.parse(this.stdout) as Addresses;
  }

  async prints(text: string): Promise<void> {
    while (!this.stdout.includes(text)) {
      const ended = this.exitCode.then(() => Promise.reject(new Error(`ended without ${text}: ${this.stderr}`)));
      await Promise.race([once(this.child.stdout!, 'data'), ended]);
    }
  }

  async stop(signal: NodeJS.Signals): Promise<number | null> {
    this.child.kill(signal);
    return this.exitCode;
  }
}

/** The code, message and remedy of a start that fails. */
async function failure(
  args: readonly string[],
  env?: NodeJS.ProcessEnv,
): Promise<{ exitCode: number | null; code: string; msg: string; remedy: string }> {
  const command = new KafkaCommand(args, env === undefined ? {} : { env });
  const exitCode = await command.exitCode;
  expect(command.stdout).toBe('');
  return { exitCode, ...(JSON.parse(command.stderr) as { code: string; msg: string; remedy: string }) };
}

/** Not its guard, whose command line names the broker's too. */
const brokerPid = (dataDir: string): number =>
  processesNaming(dataDir).find(({ command }) => /^\S*java .* kafka\.Kafka /.test(command))!.pid;

async function untilGone(dataDir: string): Promise<void> {
  const giveUpAtMs = performance.now() + GONE_WITHIN_MS;
  while (processesNaming(dataDir).length > 0 || existsSync(dataDir)) {
    if (performance.now() > giveUpAtMs) throw new Error(`left behind: ${JSON.stringify(processesNaming(dataDir))}`);
    await sleep(50);
  }
}

describe('npm run kafka', () => {
  it(
    'prints one JSON line once both answer, and stops in order on SIGTERM to npm',
    async () => {
      const command = new KafkaCommand(['--json'], { npm: true });
      const addresses = await command.addresses();
      expect(Object.keys(addresses)).toEqual(['brokers', 'registry', 'dataDir']);
      expect(await brokerAnswers(Number(addresses.brokers.split(':')[1]))).toBe(true);
      expect(await registryAnswers(addresses.registry!)).toBe(true);
      expect(await command.stop('SIGTERM')).toBe(0);
      expect(command.stdout.trim().split('\n')).toHaveLength(1);
      await untilGone(addresses.dataDir);
    },
    FIRST_START_MS,
  );

  it('tells a person the addresses, stops in order on SIGINT, and keeps a folder it was given, for one at a time', async () => {
    const dataDir = join(tempDir(), 'data');
    const command = new KafkaCommand([`--data-dir=${dataDir}`, '--no-registry', '--property=num.partitions=3']);
    await command.prints('Ctrl-C');
    expect(command.stdout).toMatch(/^Kafka 4\.1\.0 +127\.0\.0\.1:\d+$/m);
    expect(command.stdout).toMatch(/^ {2}npm run freshet -- run --brokers=127\.0\.0\.1:\d+$/m);
    expect(await command.stop('SIGINT')).toBe(0);
    expect(processesNaming(dataDir)).toEqual([]);
    expect(existsSync(join(dataDir, 'kafka', '.kafka_cleanshutdown'))).toBe(true);
    expect(readFileSync(join(dataDir, 'server.properties'), 'utf8')).toMatch(/^num\.partitions=3$/m);
    writeFileSync(join(dataDir, 'owner.pid'), '1');
    expect(await failure([`--data-dir=${dataDir}`, '--no-registry'])).toMatchObject({ code: 'DATA_DIR_IN_USE' });
    writeFileSync(join(dataDir, 'owner.pid'), String(command.child.pid)); // As a kill leaves it.
    const again = new KafkaCommand([`--data-dir=${dataDir}`, '--no-registry', '--json']);
    expect(await again.addresses()).toMatchObject({ dataDir, registry: null });
    expect(await again.stop('SIGHUP')).toBe(0);
    expect(existsSync(join(dataDir, 'owner.pid'))).toBe(false);
  });

  it('leaves nothing behind when it is killed, not even a paused broker', async () => {
    const command = new KafkaCommand(['--json', '--no-registry']);
    const { dataDir } = await command.addresses();
    process.kill(brokerPid(dataDir), 'SIGSTOP');
    await command.stop('SIGKILL');
    await untilGone(dataDir);
  });

  it('leaves nothing behind when npm is killed', async () => {
    const command = new KafkaCommand(['--json', '--no-registry'], { npm: true });
    const { dataDir, registry } = await command.addresses();
    expect(registry).toBeNull();
    command.child.kill('SIGKILL');
    await untilGone(dataDir);
  });

  it('ends, with the reason, when the broker does', async () => {
    const command = new KafkaCommand(['--json', '--no-registry']);
    const { dataDir } = await command.addresses();
    process.kill(brokerPid(dataDir), 'SIGKILL');
    expect(await command.exitCode).toBe(1);
    expect(JSON.parse(command.stderr)).toMatchObject({ code: 'LOCAL_KAFKA_FAILED' });
    await untilGone(dataDir);
  });
});

describe('a start that cannot succeed says why and what to do', () => {
  it('without Java', async () => {
    const error = await failure([], { PATH: tempDir(), JAVA_HOME: '' });
    expect(error).toMatchObject({ exitCode: 4, code: 'TOOL_MISSING' });
    expect(error.msg).toContain('Java');
    expect(error.remedy).toContain('JAVA_HOME');
  });

  it('with a Java that is too old', async () => {
    const home = tempDir();
    mkdirSync(join(home, 'bin'));
    writeProgram(join(home, 'bin', 'java'), 'echo "    java.vm.version = 11.0.2+9" >&2');
    const error = await failure([], { JAVA_HOME: home });
    expect(error).toMatchObject({ exitCode: 4, code: 'TOOL_MISSING' });
    expect(error.msg).toContain('11.0.2+9');
  });

  it('without Maven, when something must be downloaded', async () => {
    const { command } = await findJava();
    const onlyJava = tempDir();
    symlinkSync(await whereIs(command), join(onlyJava, 'java'));
    const error = await failure([`--cache-dir=${tempDir()}`], { PATH: onlyJava, JAVA_HOME: '' });
    expect(error).toMatchObject({ exitCode: 4, code: 'TOOL_MISSING' });
    expect(error.msg).toContain('Maven');
    expect(error.remedy).toContain('maven');
  });

  it.each(['--port', '--registry-port'])('when the port of %s is taken', async (flag) => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    const error = await failure([`${flag}=${port}`]);
    server.close();
    expect(error).toMatchObject({ exitCode: 4, code: 'PORT_IN_USE' });
    expect(error.msg).toContain(`127.0.0.1:${port}`);
  });

  it('when the broker dies at start, with the end of its log', async () => {
    const error = await failure(['--no-registry', '--property=authorizer.class.name=no.such.Authorizer']);
    expect(error).toMatchObject({ exitCode: 1, code: 'LOCAL_KAFKA_FAILED' });
    expect(error.msg).toContain('no.such.Authorizer');
  });

  it('when it is called in a way it does not understand', async () => {
    expect(await failure(['--unknown'])).toMatchObject({ exitCode: 2, code: 'USAGE' });
  });

  it.each(['--port=0', '--kafka-version=latest', '--listener=open', '--property=x', '--user=alice'])(
    'when a value is wrong: %s',
    (flag) => {
      expect(() => flags().parse([flag], { from: 'user' })).toThrow(/argument '.*' is invalid/);
    },
  );

  it('when users are given and no listener that asks who they are', () => {
    const parsed = flags().parse(['--user=alice:secret'], { from: 'user' }).opts<Flags>();
    expect(() => security(parsed)).toThrow(/--listener/);
  });
});

describe('the cache of downloads', () => {
  const distribution = kafkaDistribution('9.9.9');
  const outputDirectory =
    'for each; do case $each in -DoutputDirectory=*) out=${each#*=};; -version) exit 0;; esac; done';

  /** An environment whose Maven does this with the output folder it is given. */
  function maven(script: string): NodeJS.ProcessEnv {
    const bin = tempDir();
    writeProgram(join(bin, 'mvn'), `${outputDirectory}\n${script}`);
    return { ...process.env, PATH: `${bin}${delimiter}${process.env['PATH']}` };
  }

  it('has a distribution once all of it is there, and then needs no Maven', async () => {
    const cacheDir = tempDir();
    const downloads: string[] = [];
    const onProgress = (line: string): unknown => downloads.push(line);
    const env = maven('mkdir -p "$out" && echo jar > "$out/kafka.jar"');
    const folder = await provide(distribution, { cacheDir, env, onProgress });
    expect(readdirSync(folder)).toEqual(['kafka.jar']);
    expect(readdirSync(cacheDir)).toEqual(['kafka-9.9.9']);
    expect(await provide(distribution, { cacheDir, env: maven('exit 1'), onProgress })).toBe(folder);
    expect(downloads).toHaveLength(1);
  });

  it('has nothing of a download that failed, and the next one starts anew', async () => {
    const cacheDir = tempDir();
    const env = maven('mkdir -p "$out" && echo half > "$out/half.jar" && echo "no route to host" && exit 1');
    await expect(provide(distribution, { cacheDir, env })).rejects.toMatchObject({
      code: 'DOWNLOAD_FAILED',
      detail: expect.stringContaining('no route to host') as string,
    });
    expect(readdirSync(cacheDir)).toEqual([]);
    const folder = await provide(distribution, {
      cacheDir,
      env: maven('mkdir -p "$out" && echo jar > "$out/kafka.jar"'),
    });
    expect(readdirSync(folder)).toEqual(['kafka.jar']);
  });

  it('has nothing of a download that was cut short by a signal', async () => {
    const cacheDir = tempDir();
    const { PATH } = maven('mkdir -p "$out" && echo half > "$out/half.jar" && exec sleep 60');
    const command = new KafkaCommand([`--cache-dir=${cacheDir}`], { env: { PATH } });
    await untilHalf(cacheDir);
    expect(await command.stop('SIGTERM')).toBe(0);
    expect(readdirSync(cacheDir)).toEqual([]);
    expect(processesNaming(cacheDir)).toEqual([]);
  });

  it('has nothing of a download whose process was killed', async () => {
    const cacheDir = tempDir();
    const { PATH } = maven('mkdir -p "$out" && echo half > "$out/half.jar" && exec sleep 60');
    const command = new KafkaCommand([`--cache-dir=${cacheDir}`], { env: { PATH } });
    await untilHalf(cacheDir);
    await command.stop('SIGKILL');
    const partial = join(cacheDir, readdirSync(cacheDir)[0] ?? 'gone');
    await untilGone(partial);
  });

  it('loses what a download left behind whose machine went down', async () => {
    const cacheDir = tempDir();
    const [abandoned, current] = ['kafka-9.9.9.partial-a', 'kafka-9.9.9.partial-b'];
    for (const name of [abandoned, current]) mkdirSync(join(cacheDir, name));
    utimesSync(join(cacheDir, abandoned), 0, 0);
    await provide(distribution, { cacheDir, env: maven('mkdir -p "$out"') });
    expect(readdirSync(cacheDir).sort()).toEqual(['kafka-9.9.9', current]);
  });
});

function writeProgram(file: string, script: string): void {
  writeFileSync(file, `#!/bin/sh\n${script}\n`);
  chmodSync(file, 0o755);
}

async function whereIs(command: string): Promise<string> {
  const found = (process.env['PATH'] ?? '').split(delimiter).map((folder) => join(folder, command));
  return command.includes('/') ? command : found.find((file) => existsSync(file))!;
}

async function untilHalf(cacheDir: string): Promise<void> {
  while (!readdirSync(cacheDir, { recursive: true }).some((name) => String(name).endsWith('half.jar'))) await sleep(20);
}
