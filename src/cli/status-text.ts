/** The status as a table for people. */
import type { PartitionStatus, Status } from '../observe/status.ts';
import { grouped } from './progress.ts';

const CLEAR = '\u001b[2J\u001b[H';
const HEADER = ['PARTITION', 'COMMITTED', 'END', 'LAG', 'JOIN LAG', 'ITEM VERSION', 'LAYOUT', 'LAST COMMIT', 'OWNER'];
/** Columns of numbers, which stand to the right. */
const NUMBERS = 5;
const NONE = '-';
const LAYOUT_DIGITS = 8;

/** `clear`: in place of what the terminal shows. */
export function statusText(status: Status, clear: boolean): string {
  const rows = status.partitions.map((partition) => row(partition, status));
  const widths = HEADER.map((name, at) => Math.max(name.length, ...rows.map((cells) => cells[at]!.length)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, at) => (at < NUMBERS ? cell.padStart(widths[at]!) : cell.padEnd(widths[at]!)))
      .join('  ')
      .trimEnd();
  return [`${clear ? CLEAR : ''}${summary(status)}`, line(HEADER), ...rows.map(line)].join('\n');
}

function summary({ appId, group, partitions, layout }: Status): string {
  const lag = partitions.reduce((sum, { features }) => sum + features.lag, 0);
  const parts = [`${appId}: ${partitions.length} partitions, ${grouped(lag)} records to go`];
  if (group !== null) parts.push(`group ${group}`);
  const other = partitions.filter(({ features }) => features.layout !== null && features.layout !== layout).length;
  if (other > 0) parts.push(`of another state layout than configured: ${other} (LAYOUT_CHANGED)`);
  return parts.join(', ');
}

function row({ partition, features, join, owner }: PartitionStatus, { atMs }: Status): string[] {
  return [
    String(partition),
    features.committed === null ? NONE : grouped(features.committed),
    grouped(features.end),
    grouped(features.lag),
    grouped(join.features.lag + join.vectors.lag),
    features.itemVersion ?? NONE,
    features.layout?.slice(0, LAYOUT_DIGITS) ?? NONE,
    features.lastCommitMs === null ? NONE : ago(atMs - features.lastCommitMs),
    owner === null ? NONE : `${owner.memberId} (${owner.host})`,
  ];
}

function ago(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 120) return `${seconds} s ago`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 120) return `${minutes} min ago`;
  const hours = Math.round(minutes / 60);
  return hours < 48 ? `${hours} h ago` : `${Math.round(hours / 24)} d ago`;
}
