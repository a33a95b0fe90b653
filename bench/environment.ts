/** What benchmarks run under and say of it: the container's memory settings, the machine, the versions, the commit. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { packagePath } from '../src/base/package-root.ts';

/** What the Dockerfile sets for malloc and V8. */
export function containerMemorySettings(): Record<string, string> {
  const line = /^ENV (MALLOC_ARENA_MAX=.*)$/m.exec(readFileSync(packagePath('Dockerfile'), 'utf8'));
  if (line === null) throw new Error('the Dockerfile sets no MALLOC_ARENA_MAX');
  const settings = line[1]!.split(' ').map((setting) => setting.split(/=(.*)/s).slice(0, 2) as [string, string]);
  return Object.fromEntries(settings);
}

/** Versions are those of the named dependencies. */
export function describeEnvironment(dependencies: readonly string[]): object {
  const { dependencies: versions } = JSON.parse(readFileSync(packagePath('package.json'), 'utf8')) as {
    dependencies: Record<string, string>;
  };
  return {
    commit: commitId(),
    machine: { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, memoryGb: Math.round(totalmem() / 2 ** 30) },
    versions: {
      node: process.versions.node,
      ...Object.fromEntries(dependencies.map((name) => [name, versions[name]])),
    },
  };
}

function commitId(): string {
  try {
    const git = (...args: string[]): string =>
      execFileSync('git', args, { cwd: packagePath(), encoding: 'utf8' }).trim();
    return git('rev-parse', '--short', 'HEAD') + (git('status', '--porcelain') === '' ? '' : ' with changes');
  } catch {
    return 'unknown';
  }
}
