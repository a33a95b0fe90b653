/** docs/operations.md and deploy/ against the code: what an operator reads at night has to be there and to be true. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CONFIG_KEYS } from '../src/base/config.ts';
import { ERRORS } from '../src/base/errors.ts';
import { packagePath } from '../src/base/package-root.ts';
import { HEALTH_CODES, healthTable } from '../src/observe/health.ts';
import { METRICS, metricTable } from '../src/observe/metric-table.ts';

const read = (...path: string[]): string => readFileSync(packagePath(...path), 'utf8');
const PAGE = read('docs', 'operations.md');

/** What stands between two markers of the page. */
function marked(name: string): string {
  const found = new RegExp(`<!-- ${name}:begin -->\n([^]*?)\n<!-- ${name}:end -->`).exec(PAGE);
  if (found === null) throw new Error(`docs/operations.md has no ${name}`);
  return found[1]!;
}

const matches = (text: string, pattern: RegExp): string[] => [...text.matchAll(pattern)].map(([, group]) => group!);
const distinct = (values: readonly string[]): string[] => [...new Set(values)].sort();

describe('tables made from the code', () => {
  it('of the metrics', () => {
    expect(marked('metrics')).toBe(metricTable());
  });

  it('of the codes of health', () => {
    expect(marked('health')).toBe(healthTable());
  });
});

describe('codes', () => {
  /** Every TypeScript file of the shipped folders. */
  const sources = ['src', 'state', 'topics'].flatMap((folder) =>
    readdirSync(packagePath(folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .map((name) => read(join(folder, name))),
  );
  const inSource = distinct(
    sources.flatMap((text) => [
      ...matches(text, /\bcode(?::| =) '([A-Z][A-Z_]+)'/g),
      // Those that lines of kafkajs get.
      ...matches(text, /(?::|\?\?) '(KAFKA_[A-Z_]+)'/g),
      ...matches(text, /new ProgressLine\([^)]*'([A-Z_]+)'/g),
    ]),
  );
  const listed = matches(marked('log-codes'), /^\| `([A-Z_]+)` \|/gm);

  it('are found in the source', () => {
    expect(inSource).toEqual(expect.arrayContaining(['RUNNING', 'RESTORED', 'HTTP_LISTENING', 'LOAD_PROGRESS']));
  });

  it('of log lines are those of errors, or listed', () => {
    const known = new Set([...listed, ...Object.keys(ERRORS)]);
    expect(inSource.filter((code) => !known.has(code))).toEqual([]);
  });

  it('that are listed are in the source, and are no errors', () => {
    expect(listed.filter((code) => !inSource.includes(code) || Object.hasOwn(ERRORS, code))).toEqual([]);
    expect(distinct(listed)).toEqual([...listed].sort());
  });

  it('of health are no codes of errors', () => {
    expect(Object.keys(HEALTH_CODES).filter((code) => Object.hasOwn(ERRORS, code))).toEqual([]);
  });
});

describe('the runbook', () => {
  /** The codes that its entries are about: those before the colon. */
  const entries = matches(marked('runbook'), /^- ((?:`[A-Z_]+`(?:, )?)+):/gm).flatMap((codes) =>
    matches(codes, /`([A-Z_]+)`/g),
  );

  it('has an entry for each error code, and for no other', () => {
    expect(distinct(entries)).toEqual(Object.keys(ERRORS).sort());
  });

  it('has one each', () => {
    expect(entries).toHaveLength(new Set(entries).size);
  });
});

describe('what is deployed', () => {
  const alerts = read('deploy', 'prometheus', 'alerts.yml');
  const dashboard = read('deploy', 'grafana', 'freshet.json');
  const manifest = read('deploy', 'kubernetes', 'freshet.yaml');

  const names = Object.values(METRICS).flatMap(({ name, type }) =>
    type === 'histogram' ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name],
  );
  const queries = (JSON.parse(dashboard) as { panels: { targets: { expr: string }[] }[] }).panels.flatMap(
    ({ targets }) => targets.map(({ expr }) => expr),
  );

  it.each([
    ['alerts', alerts],
    ['dashboard', queries.join('\n')],
  ])('%s ask for metrics that there are', (_, text) => {
    const used = distinct(matches(text, /\b((?:freshet|process)_[a-z0-9_]+)/g));
    expect(used.length).toBeGreaterThan(8);
    expect(used.filter((name) => !names.includes(name))).toEqual([]);
  });

  it.each([
    ['alerts', alerts],
    ['dashboard', queries.join('\n')],
  ])('%s ask for labels that the metric has', (_, text) => {
    for (const [, name, labels] of text.matchAll(/\b((?:freshet|process)_[a-z0-9_]+)\{([^}]*)\}/g)) {
      const declared = Object.values(METRICS).find(({ name: known }) => name!.startsWith(known))!;
      const allowed: readonly string[] = [...declared.labels, 'instance', 'job'];
      expect(matches(labels!, /(\w+)[=!]/g).filter((label) => !allowed.includes(label))).toEqual([]);
    }
    const values = {
      task: ['features', 'join'],
      state: ['RUNNING', 'RESTORING'],
      class: ['migrated', 'retry', 'fatal'],
    };
    for (const [label, known] of Object.entries(values)) {
      expect(known).toEqual(expect.arrayContaining(matches(text, new RegExp(`\\b${label}="(\\w+)"`, 'g'))));
    }
  });

  it('the dashboard shows everything that is measured but what is constant', () => {
    const shown = queries.join('\n');
    const missing = Object.values(METRICS).filter(({ name }) => !shown.includes(name));
    const counts = ['freshet_commits_total', 'freshet_output_records_total', 'freshet_restored_records_total'];
    expect(missing.map(({ name }) => name).sort()).toEqual(
      [...counts, 'freshet_replay_commits_total', 'freshet_task_transitions_total', 'freshet_workers']
        .concat('process_start_time_seconds')
        .sort(),
    );
  });

  it('every alert has its section, every section its alert', () => {
    const section = /\n## Alerts\n([^]*?)\n## /.exec(PAGE)![1]!;
    const headings = matches(section, /^### (.+)$/gm).map((heading) => heading.toLowerCase().replaceAll(' ', '-'));
    const linked = matches(alerts, /runbook: docs\/operations\.md#(\S+)$/gm);
    expect(linked).toHaveLength(matches(alerts, /- alert: (\w+)$/gm).length);
    expect(linked.sort()).toEqual(headings.sort());
  });

  it('the manifest sets configuration that there is, and asks for paths that are served', () => {
    const set = matches(manifest, /\b(FRESHET_[A-Z_]+)/g);
    expect(set).toContain('FRESHET_BROKERS');
    expect(set.filter((name) => !CONFIG_KEYS.some(({ env }) => env === name))).toEqual([]);
    expect(distinct(matches(manifest, /path: (\/\w+), port: http/g))).toEqual(['/live', '/ready']);
    const port = /FRESHET_HTTP_PORT, value: '(\d+)'/.exec(manifest)![1];
    expect(distinct(matches(manifest, /(?:containerPort:|\bport:|io\/port:) '?(\d+)'?/g))).toEqual([port]);
  });
});
