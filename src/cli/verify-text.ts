/** A verification, told to a person: the numbers, why records differ, and the first that do. */
import type { Difference, VerifyReport, WhyUnverifiable } from '../replay/verify-report.ts';
import { grouped } from './progress.ts';

const MAX_CAUSES = 10;
const WHY: Readonly<Record<WhyUnverifiable, string>> = {
  'unknown past': 'whose users’ state before the start is not known',
  seeded: 'whose users were converted from another application’s',
  superseded: 'which a reset has gone back behind',
};

export function verifyText(report: VerifyReport): string {
  const { compared, equal, differing, missing, extra, unverifiable, records, gaps, causes, differences } = report;
  const { unverifiableBy } = report;
  const lines = [
    `${grouped(records)} input records replayed, ${grouped(compared)} features records compared: ${grouped(equal)} equal, ` +
      `${grouped(differing)} differing, ${grouped(extra)} extra, ${grouped(missing)} missing; ` +
      `${grouped(unverifiable)} cannot be verified`,
  ];
  for (const { why, partition, records: count } of unverifiableBy) {
    lines.push(`cannot be verified: ${grouped(count)} records of partition ${partition}, ${WHY[why]}`);
  }
  for (const { topic, partition, from, to, code } of gaps) {
    lines.push(`gap: ${topic} ${partition}, offsets ${from} to ${to - 1} cannot be read (${code})`);
  }
  if (causes.length > 0) lines.push('', 'Why:');
  for (const { cause, topic, partition, offset, field, records: explained } of causes.slice(0, MAX_CAUSES)) {
    const where = `${topic} ${partition} @ ${offset}`;
    lines.push(`  ${cause}: first at ${where}${field === '' ? '' : `, in ${field}`}; explains ${grouped(explained)}`);
  }
  const further = causes.length - Math.min(causes.length, MAX_CAUSES) + report.furtherCauses;
  if (further > 0) lines.push(`  and ${grouped(further)} more (--json names them)`);
  if (differences.length > 0) lines.push('', 'The first:', ...differences.map(line));
  lines.push('', report.isEqual ? 'All that was compared is equal.' : 'Not equal.');
  if (!report.complete) {
    const from = Array.from(report.next, ([partition, offset]) => `${partition}:${offset}`).join(',');
    lines.push(`Interrupted: --from=${from} goes on.`);
  }
  return lines.join('\n');
}

function line({ kind, partition, userHash, version, offset, cause, fields }: Difference): string {
  const at = offset === null ? '' : ` (sequence-features ${partition} @ ${offset})`;
  const differs = fields.length === 0 ? '' : `: ${fields.join(', ')}`;
  return `  ${kind}: user ${userHash}, partition ${partition}, version ${version}${at}, ${cause}${differs}`;
}
