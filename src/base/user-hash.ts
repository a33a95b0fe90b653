import { createHash } from 'node:crypto';

/** Names a user in logs and errors, where ids must not appear: the first 12 hex digits of the id's SHA-256. */
export const userHash = (userId: string): string => createHash('sha256').update(userId).digest('hex').slice(0, 12);
