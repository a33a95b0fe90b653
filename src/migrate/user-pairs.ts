/** The users of two sources side by side: both give theirs in the order of the ids' bytes, so one pass suffices. */

interface OfUser {
  readonly userId: string;
}

export interface UserPair<A extends OfUser, B extends OfUser> {
  readonly userId: string;
  /** Null: the first source does not have the user. */
  readonly first: A | null;
  readonly second: B | null;
}

export async function* userPairs<A extends OfUser, B extends OfUser>(
  first: AsyncIterable<A>,
  second: AsyncIterable<B>,
): AsyncGenerator<UserPair<A, B>, void> {
  const [left, right] = [first[Symbol.asyncIterator](), second[Symbol.asyncIterator]()];
  try {
    let [a, b] = [await left.next(), await right.next()];
    while (a.done !== true || b.done !== true) {
      const order = a.done === true ? 1 : b.done === true ? -1 : compareIds(a.value.userId, b.value.userId);
      const one = order <= 0 && a.done !== true ? a.value : null;
      const other = order >= 0 && b.done !== true ? b.value : null;
      yield { userId: (one ?? other)!.userId, first: one, second: other };
      if (one !== null) a = await left.next();
      if (other !== null) b = await right.next();
    }
  } finally {
    await left.return?.();
    await right.return?.();
  }
}

const compareIds = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));
