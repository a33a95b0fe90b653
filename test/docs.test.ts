/** The documentation against the code: tables that cannot go stale, commands that parse, links that lead somewhere. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { CommanderError, type Command, type Option } from 'commander';
import { describe, expect, it } from 'vitest';
import { CONFIG_KEYS, configurationTable } from '../src/base/config.ts';
import { ERRORS } from '../src/base/errors.ts';
import { packagePath } from '../src/base/package-root.ts';
import { program } from '../src/cli/main.ts';
import { aclTable } from '../src/log/kafka-acls.ts';
import { shippedSchema, declareTopics, SUBJECTS } from '../topics/index.ts';

const PAGES = ['README.md', 'CHANGELOG.md', ...readdirSync(packagePath('docs')).map((name) => join('docs', name))]
  .filter((name) => name.endsWith('.md'))
  .map((name) => ({ name, text: readFileSync(packagePath(name), 'utf8') }));

const page = (name: string): string => PAGES.find((each) => each.name === name)!.text;

/** The part of a page below a heading, up to the next one of its level. */
function section(name: string, heading: string): string {
  const [, below] = `${page(name)}\n## `.split(`\n## ${heading}\n`);
  if (below === undefined) throw new Error(`${name} has no section ${heading}`);
  return below.slice(0, below.indexOf('\n## '));
}

describe('tables made from the code', () => {
  it('of the configuration: docs/configuration.md holds what `freshet config --keys` prints', () => {
    expect(page('docs/configuration.md')).toContain(`<!-- keys:begin -->\n${configurationTable()}\n<!-- keys:end -->`);
  });

  it('of the errors: docs/operations.md lists every code with its exit code, message and remedy', () => {
    expect(page('docs/operations.md')).toContain(`<!-- errors:begin -->\n${errorTable()}\n<!-- errors:end -->`);
  });

  it('of the ACLs: docs/security.md lists what each role needs', () => {
    expect(page('docs/security.md')).toContain(`<!-- acls:begin -->\n${aclTable()}\n<!-- acls:end -->`);
  });
});

function errorTable(): string {
  const rows = Object.entries(ERRORS).map(([code, { exitCode, message, remedy }]) =>
    [`\`${code}\``, String(exitCode), message, remedy].map((cell) => cell.replaceAll('|', '\\|')),
  );
  const header = ['Code', 'Exit', 'What happened', 'Remedy'];
  return [header, header.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

describe('docs/topics.md', () => {
  it.each(declareTopics(8).map(({ name }) => name))('has a section about %s, with each field of its schema', (name) => {
    const text = section('docs/topics.md', name);
    for (const subject of SUBJECTS.filter((each) => each.replace(/-value$/, '').startsWith(name))) {
      for (const field of shippedSchema(subject).fields) expect(text).toMatch(new RegExp(`\`${field.name}(\\[|\`)`));
    }
  });
});

/** A command of the tree and what it is called, e.g. `freshet vectors load`. */
interface Leaf {
  readonly path: string;
  readonly command: Command;
}

const leavesOf = (command: Command, path: string): Leaf[] =>
  command.commands.length === 0
    ? [{ path, command }]
    : command.commands.flatMap((child) => leavesOf(child, `${path} ${child.name()}`));

const LEAVES = leavesOf(await program(), 'freshet');

describe('docs/cli.md', () => {
  const configFlags = new Set(CONFIG_KEYS.map(({ flag }) => flag));
  const isOwn = ({ long }: Option): boolean => !configFlags.has(long ?? null) && long !== '--config';

  it.each(LEAVES)('has a section about $path, with each option', ({ path, command }) => {
    const text = section('docs/cli.md', path);
    const documented = [...text.matchAll(/^\| `(--[^`]+)` \|/gm)].map(([, flags]) => flags);
    expect(documented.sort()).toEqual(
      command.options
        .filter(isOwn)
        .map(({ flags }) => flags)
        .sort(),
    );
  });
});

/** The shell lines of a page that call the CLI, continuations joined: in fences, and as inline code with an option. */
function commandLines(text: string): string[] {
  const fences = [...text.matchAll(/^```(?:sh|text)\n([^]*?)^```/gm)].flatMap(([, code]) =>
    code!.replaceAll(/\\\n\s*/g, '').split('\n'),
  );
  const inline = [...text.matchAll(/`(npx freshet [^`…]+)`/g)].map(([, code]) => code!);
  return [...fences, ...inline].filter((line) => /\b(npx|run -s|docker run .*) ?freshet\b/.test(line));
}

/** The arguments behind `freshet`, up to a pipe or comment; quotes are taken off. */
function argumentsOf(line: string): string[] {
  const words = [...line.matchAll(/(?:'[^']*'|"[^"]*"|[^\s'"])+/g)].map(([word]) => word.replaceAll(/'|"/g, ''));
  const behind = words.slice(words.indexOf('freshet') + 1).filter((word) => word !== '--');
  const end = behind.findIndex((word) => ['|', '>', '&&', '#'].includes(word));
  return end < 0 ? behind : behind.slice(0, end);
}

/** What commander says to the arguments, without running anything; null where it takes them. */
async function complaint(args: readonly string[]): Promise<string | null> {
  const root = await program();
  const silence = (command: Command): void => {
    command.configureOutput({ writeOut: () => undefined, writeErr: () => undefined });
    command.commands.forEach(silence);
  };
  silence(root);
  for (const { command } of leavesOf(root, '')) command.action(() => undefined);
  try {
    root.parse(args, { from: 'user' });
    return null;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? null : error.message;
  }
}

const COMMANDS = PAGES.flatMap(({ name, text }) => commandLines(text).map((line) => ({ name, line })));

describe('commands in the documentation', () => {
  it('are found', () => {
    expect(COMMANDS.length).toBeGreaterThan(30);
    expect(argumentsOf(`A=1 npx freshet config --undo='{"a":"b"}' | jq .`)).toEqual(['config', '--undo={a:b}']);
  });

  it.each(COMMANDS)('$name: $line', async ({ line }) => {
    expect(await complaint(argumentsOf(line))).toBeNull();
  });

  it.each([
    [['runn'], 'unknown command'],
    [['run', '--until'], 'unknown option'],
    [['run', 'now'], 'too many arguments'],
    [['load', 'a.csv'], 'required option'],
    [['load', 'a.csv', '--format=xml'], 'Allowed choices'],
    [['read'], 'missing required argument'],
    [['read', 'user-actions', '--limit=x'], 'must be an integer'],
  ])('would fail as %j', async (args, why) => {
    expect(await complaint(args)).toContain(why);
  });
});

describe('links in the documentation', () => {
  const linksOf = (text: string): string[] =>
    [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target!).filter((target) => !/^https?:/.test(target));

  it('are found', () => {
    expect(PAGES.flatMap(({ text }) => linksOf(text)).length).toBeGreaterThan(40);
  });

  it.each(PAGES)('of $name lead somewhere', ({ name, text }) => {
    const broken = linksOf(text).filter((target) => {
      const [file = '', anchor] = target.split('#');
      const path = file === '' ? packagePath(name) : resolve(packagePath(dirname(name)), file);
      return !existsSync(path) || (anchor !== undefined && !anchorsOf(readFileSync(path, 'utf8')).includes(anchor));
    });
    expect(broken).toEqual([]);
  });
});

/** The anchors that the headings of a page get. */
const anchorsOf = (text: string): string[] =>
  [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading]) =>
    heading!
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s-]/gu, '')
      .replaceAll(' ', '-'),
  );
