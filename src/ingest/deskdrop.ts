/**
 * The preset for CI&T Deskdrop: the file shipped with Freshet (data/deskdrop) as well as the published CSV, which has a
 * user agent where the shipped one has the surface.
 */
export const DESKDROP = {
  map: { userId: 'personId', itemId: 'contentId', actionType: 'eventType', eventTime: 'timestamp' },
  userAgentColumn: 'userAgent',
  timeUnit: 's',
  actionMap: { VIEW: 'view', LIKE: 'like', BOOKMARK: 'bookmark', 'COMMENT CREATED': 'comment', FOLLOW: 'follow' },
  /** In the published archive, which also holds the articles. */
  zipEntry: 'users_interactions.csv',
} as const;

/** The surface that a user agent tells, by the rules of data/deskdrop/clean.py; null where there is none. */
export function deskdropSurface(userAgent: unknown): string | null {
  if (typeof userAgent !== 'string' || userAgent === '') return null;
  if (userAgent.includes('Android')) return 'android';
  return ['iPhone', 'iPad', 'iOS'].some((mark) => userAgent.includes(mark)) ? 'ios' : 'web';
}
