/** What a Kafka cluster that denies by default must allow each kind of user of Freshet: the data behind docs/security.md. */
import { declareTopics, type TopicName } from '../../topics/index.ts';

export const ROLES = ['worker', 'loader', 'reader', 'mover', 'admin'] as const;
/**
 * worker: `run`. loader: `load` and `vectors`. reader: everything that looks only, snapshots among it. mover: `reset` and
 * `migrate`, for the application id of either side. admin: `topics plan|apply`.
 */
export type Role = (typeof ROLES)[number];

export type Operation = 'Read' | 'Write' | 'Create' | 'Describe' | 'DescribeConfigs' | 'AlterConfigs';

export interface Acl {
  readonly resource: 'Topic' | 'Group' | 'TransactionalId';
  readonly name: string;
  readonly pattern: 'literal' | 'prefixed';
  /** Read and Write imply Describe, AlterConfigs implies DescribeConfigs. */
  readonly operation: Operation;
}

const TOPICS = declareTopics(1).map(({ name }) => name);

/** For an application id; every one of them is needed. */
export function aclsOf(role: Role, appId: string): readonly Acl[] {
  switch (role) {
    case 'worker':
      return [
        ...topics(
          'Read',
          'user-actions',
          'item-embeddings',
          'user-embeddings',
          'sequence-features',
          'ranking-features',
        ),
        ...topics('Write', 'sequence-features', 'action-history', 'rejected-actions', 'ranking-features'),
        ...topics('DescribeConfigs', ...TOPICS),
        { resource: 'Group', name: appId, pattern: 'literal', operation: 'Read' },
        { resource: 'TransactionalId', name: `${appId}-`, pattern: 'prefixed', operation: 'Write' },
      ];
    case 'loader':
      return [
        ...topics('Read', 'user-actions', 'item-embeddings'),
        ...topics('Write', 'user-actions', 'item-embeddings', 'user-embeddings'),
        ...topics('Describe', 'sequence-features', 'action-history', 'rejected-actions', 'ranking-features'),
      ];
    case 'reader':
      return [
        ...topics('Read', ...TOPICS),
        { resource: 'Group', name: appId, pattern: 'literal', operation: 'Describe' },
      ];
    case 'mover':
      return [
        ...topics('Read', 'user-actions', 'item-embeddings', 'user-embeddings', 'sequence-features', 'action-history'),
        ...topics('Write', 'sequence-features', 'action-history'),
        ...topics('Describe', 'rejected-actions', 'ranking-features'),
        { resource: 'Group', name: appId, pattern: 'literal', operation: 'Read' },
        { resource: 'TransactionalId', name: `${appId}-`, pattern: 'prefixed', operation: 'Write' },
      ];
    case 'admin':
      return [...topics('Describe', ...TOPICS), ...topics('AlterConfigs', ...TOPICS), ...topics('Create', ...TOPICS)];
  }
}

const topics = (operation: Operation, ...names: readonly TopicName[]): Acl[] =>
  names.map((name) => ({ resource: 'Topic', name, pattern: 'literal', operation }));

/** The ACLs as a Markdown table; operations on the same thing in one row. */
export function aclTable(): string {
  const rows = ROLES.flatMap((role) => {
    const grouped = Map.groupBy(aclsOf(role, '<appId>'), ({ resource, name }) => `${resource} ${name}`);
    return [...grouped.values()].map((acls) => {
      const { resource, name, pattern } = acls[0]!;
      const operations = acls.map(({ operation }) => operation).join(', ');
      return [role, `${resource} \`${name}\`${pattern === 'prefixed' ? ' (prefix)' : ''}`, operations];
    });
  });
  const header = ['Role', 'Resource', 'Operations'];
  return [header, header.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}
