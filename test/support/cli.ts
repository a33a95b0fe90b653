/** The CLI as its users have it: a process of its own, started by bin/freshet.js. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { packagePath } from '../../src/base/package-root.ts';
import { tempDir } from './temp-dir.ts';

/** In every user id of these tests, so that one in a log line is found. */
export const USER_MARK = 'secret~';

/** Nothing of the environment that configures Freshet comes through. Node keeps compiled sources between processes, where it does by default. */
const BASE_ENV = {
  PATH: `${dirname(process.execPath)}:${process.env['PATH']}`,
  HOME: process.env['HOME'],
  NODE_COMPILE_CACHE: join(tmpdir(), 'node-compile-cache'),
};

export interface CliOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** The Node that runs it; by default that of the tests. */
  readonly node?: string;
  /** An open file for stdout; by default it is collected. */
  readonly stdout?: number;
}

export interface LogLine {
  readonly level: number;
  readonly code?: string;
  readonly msg: string;
  readonly remedy?: string;
  readonly topic?: string;
  readonly partition?: number;
  readonly offset?: number;
}

export interface CliResult {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Commands of a test file that run side by side; the others wait. */
const MAX_AT_ONCE = 2;
let running = 0;
const waiting: (() => void)[] = [];

/** Runs a command to its end. */
export async function freshet(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  if (running === MAX_AT_ONCE) await new Promise<void>((go) => waiting.push(go));
  else running += 1;
  try {
    return await new CliProcess(args, options).result;
  } finally {
    const next = waiting.shift();
    if (next === undefined) running -= 1;
    else next();
  }
}

/** Runs a command that is expected to succeed: its stdout, once stderr has been found to be logs without a user. */
export async function succeed(args: readonly string[], options: CliOptions = {}): Promise<string> {
  const result = await freshet(args, options);
  if (result.exitCode !== 0) throw new Error(`freshet ${args.join(' ')}: exit ${result.exitCode}\n${result.stderr}`);
  logLines(result);
  return result.stdout;
}

/** The lines of stderr; throws if one is no log line of pino or names a user. */
export function logLines({ stderr }: Pick<CliResult, 'stderr'>): LogLine[] {
  if (stderr.includes(USER_MARK)) throw new Error(`a user id is in the log: ${stderr}`);
  return lines(stderr).map((line) => {
    const parsed = JSON.parse(line) as Partial<LogLine> & { time?: unknown };
    if (typeof parsed.level !== 'number' || typeof parsed.msg !== 'string' || typeof parsed.time !== 'number') {
      throw new Error(`no log line: ${line}`);
    }
    return parsed as LogLine;
  });
}

/** One JSON value a line. */
export const jsonLines = <T>(text: string): T[] => lines(text).map((line) => JSON.parse(line) as T);

export const lines = (text: string): string[] => text.split('\n').filter((line) => line !== '');

/** Writes an input file of these lines; returns its path. */
export function inputFile(name: string, rows: readonly (string | object)[]): string {
  const file = join(tempDir(), name);
  writeFileSync(file, rows.map((row) => `${typeof row === 'string' ? row : JSON.stringify(row)}\n`).join(''));
  return file;
}

/** A command that goes on until it is told to stop. */
export class CliProcess {
  readonly child: ChildProcess;
  readonly result: Promise<CliResult>;
  #stdout = '';
  #stderr = '';

  /** By default in an empty folder: no freshet.config.json is found by accident. */
  constructor(
    args: readonly string[],
    { cwd = tempDir(), env = {}, node = process.execPath, stdout }: CliOptions = {},
  ) {
    this.child = spawn(node, [packagePath('bin', 'freshet.js'), ...args], {
      cwd,
      env: { ...BASE_ENV, ...env },
      stdio: ['ignore', stdout ?? 'pipe', 'pipe'],
    });
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => (this.#stdout += text));
    this.child.stderr!.setEncoding('utf8').on('data', (text: string) => (this.#stderr += text));
    this.result = once(this.child, 'close').then(([exitCode]) => ({
      exitCode: exitCode as number | null,
      stdout: this.#stdout,
      stderr: this.#stderr,
    }));
  }

  /** Resolves when a log line with this code has been written; fails if the process ends before. */
  async logged(code: string): Promise<void> {
    const ended = this.result.then(({ stderr }) => {
      if (!stderr.includes(`"code":"${code}"`)) throw new Error(`ended without ${code}: ${stderr}`);
    });
    while (!this.#stderr.includes(`"code":"${code}"`)) {
      await Promise.race([once(this.child.stderr!, 'data'), ended]);
    }
  }

  /** Sends the signal; the result and how long the process took to end, milliseconds. */
  async stop(signal: NodeJS.Signals): Promise<CliResult & { tookMs: number }> {
    const startedMs = performance.now();
    this.child.kill(signal);
    const result = await this.result;
    return { ...result, tookMs: performance.now() - startedMs };
  }
}
